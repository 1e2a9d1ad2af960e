import { abortError, CocaError } from "../error.js";

/** So often a download is taken up again without a single byte having come. */
const ATTEMPTS = 5;
/** Before the first of those attempts; doubled with each. */
const FIRST_PAUSE_MS = 500;

/** What tells one version of a file from another; `undefined` where the server does not say, or not to this page. */
export interface Validators {
  readonly etag: string | undefined;
  readonly lastModified: string | undefined;
  readonly bytes: number | undefined;
}

/** What to download. */
export interface DownloadOptions {
  readonly signal: AbortSignal;
  /** Of what follows when a dropped connection is taken up again, and of the ranges asked for. */
  readonly validators: Validators;
  /** The first byte; default 0. */
  readonly from?: number;
  /** One more than the last byte; default to the end. */
  readonly to?: number;
  /** The answer to a request for the whole file that was made before. */
  readonly response?: Response;
  /** For tests. */
  readonly pause?: (ms: number, signal: AbortSignal) => Promise<void>;
}

/** A response whose status is good, or `undefined` when there is nothing at the address. */
export async function fetchFile(url: string, signal: AbortSignal, init: RequestInit = {}): Promise<Response | undefined> {
  let response: Response;
  try {
    response = await fetch(url, { ...init, signal });
  } catch (cause) {
    if (signal.aborted) throw abortError(signal);
    throw new CocaError(
      "network",
      `${url} cannot be fetched: the server is unreachable, or does not allow this page to read it ` +
        "(Access-Control-Allow-Origin), or the page's policy forbids it (connect-src)",
      { cause },
    );
  }
  if (response.status === 404 || response.status === 410) return undefined;
  if (!response.ok) {
    const { status, statusText } = response;
    throw new CocaError("network", `${url} cannot be fetched: the server answered ${status} ${statusText}`.trimEnd());
  }
  return response;
}

/** What a response says about the version of its file. */
export function validatorsOf({ headers }: Response): Validators {
  return {
    etag: headers.get("etag") ?? undefined,
    lastModified: headers.get("last-modified") ?? undefined,
    bytes: headers.has("content-encoding") ? undefined : wholeNumber(headers.get("content-length")),
  };
}

/** Whether two answers are about the same version. Without an ETag or a date there is no telling, so: no. */
export function sameVersion(a: Validators, b: Validators): boolean {
  if (a.bytes !== undefined && b.bytes !== undefined && a.bytes !== b.bytes) return false;
  if (a.etag !== undefined && b.etag !== undefined) return a.etag.replace(/^W\//, "") === b.etag.replace(/^W\//, "");
  return a.lastModified !== undefined && a.lastModified === b.lastModified;
}

/**
 * The bytes of a file as they arrive. When the connection drops, the rest is asked for by range, or where the server
 * has no ranges, the whole again, of which what came before is passed over.
 */
export async function* download(url: string, options: DownloadOptions): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const { signal, validators, from = 0, pause = sleep } = options;
  let { response } = options;
  const end = options.to ?? validators.bytes;
  // Ranges count the bytes that travel, which for a compressed file are not those that arrive here.
  const compressed = response?.headers.has("content-encoding") ?? false;
  let offset = from;
  for (let attempt = 0; end === undefined || offset < end; ) {
    let cause: unknown;
    try {
      let skip = 0;
      if (!response) ({ response, skip } = await requestFrom(url, offset, options));
      for await (const chunk of chunksOf(response)) {
        const piece = chunk.subarray(skip, end === undefined ? undefined : skip + end - offset);
        skip -= Math.min(skip, chunk.length);
        if (piece.length === 0) continue;
        offset += piece.length;
        attempt = 0;
        yield piece;
        if (offset === end && options.to !== undefined) return;
      }
      if (end === undefined || offset >= end) return;
    } catch (thrown) {
      if (signal.aborted) throw abortError(signal);
      if (thrown instanceof Changed) throw new CocaError("network", thrown.message);
      cause = thrown;
    }
    response = undefined;
    if (++attempt >= ATTEMPTS || compressed) {
      const of = end === undefined ? "" : ` of ${end}`;
      throw new CocaError("network", `the download of ${url} broke off after ${offset}${of} bytes`, { cause });
    }
    await pause(FIRST_PAUSE_MS * 2 ** (attempt - 1), signal);
    if (signal.aborted) throw abortError(signal);
  }
  // A file without bytes, or one whose bytes were all there already.
  await response?.body?.cancel().catch(() => undefined);
}

/** The file became another one between two requests. */
class Changed extends Error {}

/** A response from a byte of the file on, or the whole file of which `skip` bytes are to be passed over. */
async function requestFrom(
  url: string,
  offset: number,
  { signal, to, validators }: DownloadOptions,
): Promise<{ response: Response; skip: number }> {
  const range = offset > 0 || to !== undefined ? { range: `bytes=${offset}-${to === undefined ? "" : to - 1}` } : {};
  const response = await fetch(url, { signal, headers: range, cache: "no-store" });
  const partial = response.status === 206;
  const found = validatorsOf(response);
  const total = partial ? wholeNumber(/\/(\d+)$/.exec(response.headers.get("content-range") ?? "")?.[1]) : found.bytes;
  const unlike = !sameVersion(validators, { ...found, bytes: total });
  const silent = found.etag === undefined && found.lastModified === undefined;
  if (response.status === 416 || response.status === 404 || (response.ok && unlike && !(partial && silent))) {
    await response.body?.cancel();
    throw new Changed(`${url} changed while it was downloaded; load the model again`);
  }
  if (!response.ok) {
    await response.body?.cancel();
    throw new Error(`the server answered ${response.status}`);
  }
  return { response, skip: partial ? 0 : offset };
}

/** The bytes of a `data:` address, without a request: policies rarely allow those in connect-src. */
export function dataUrlBytes(url: string): Uint8Array<ArrayBuffer> | undefined {
  const match = /^data:[^,]*?(;base64)?,(.*)$/s.exec(url);
  if (!match) return undefined;
  const [, base64, body = ""] = match;
  try {
    if (!base64) return new TextEncoder().encode(decodeURIComponent(body));
    return Uint8Array.from(atob(decodeURIComponent(body)), (character) => character.charCodeAt(0));
  } catch (cause) {
    throw new CocaError("invalid-argument", "the data: address is damaged", { cause });
  }
}

/** The chunks of a body. Safari's streams have no async iterator, hence the reader. */
export async function* chunksOf(body: Response | Blob): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const stream = body instanceof Blob ? body.stream() : body.body;
  const reader = stream?.getReader();
  if (!reader) return;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value as Uint8Array<ArrayBuffer>;
    }
  } finally {
    // Not to be waited for: after an error there is nobody at the other end.
    reader.cancel().catch(() => undefined);
  }
}

/** All bytes of a list of chunks. */
export function join(chunks: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(chunks.reduce((length, chunk) => length + chunk.length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}

function wholeNumber(text: string | null | undefined): number | undefined {
  const number = Number(text ?? Number.NaN);
  return Number.isSafeInteger(number) && number >= 0 ? number : undefined;
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
    signal.addEventListener("abort", done);
  });
}
