import { abortError, CocaError } from "../error.js";

/** How a download is going; `total` is `undefined` where the server does not say. */
export type OnBytes = (loaded: number, total: number | undefined) => void;

/** A response whose status is good, or `undefined` when there is nothing at the address. */
export async function fetchFile(url: string, signal: AbortSignal): Promise<Response | undefined> {
  let response: Response;
  try {
    response = await fetch(url, { signal });
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
    throw new CocaError("network", `${url} cannot be fetched: the server answered ${response.status} ${response.statusText}`);
  }
  return response;
}

/** All bytes of a response. */
export async function readBytes(response: Response, signal: AbortSignal, onBytes: OnBytes): Promise<Uint8Array<ArrayBuffer>> {
  const total = bodyLength(response);
  onBytes(0, total);
  const chunks: Uint8Array[] = [];
  let loaded = 0;
  try {
    for await (const chunk of chunksOf(response)) {
      chunks.push(chunk);
      loaded += chunk.length;
      onBytes(loaded, total);
    }
  } catch (cause) {
    if (signal.aborted) throw abortError(signal);
    throw new CocaError("network", `the download of ${response.url} broke off after ${loaded} bytes`, { cause });
  }
  if (total !== undefined && loaded !== total) {
    throw new CocaError("network", `the download of ${response.url} ended after ${loaded} of ${total} bytes`);
  }
  if (total === undefined) onBytes(loaded, loaded);
  return join(chunks, loaded);
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

/** The length of the body as it will be read, which a compressed response does not tell. */
function bodyLength(response: Response): number | undefined {
  if (response.headers.has("content-encoding")) return undefined;
  const length = Number(response.headers.get("content-length") ?? Number.NaN);
  return Number.isSafeInteger(length) && length >= 0 ? length : undefined;
}

/** Safari's streams have no async iterator, hence the reader. */
async function* chunksOf(response: Response): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader();
  if (!reader) return;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

function join(chunks: readonly Uint8Array[], length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}
