import { createHash } from "node:crypto";

/** A file on a {@link FakeServer}. */
export interface ServedFile {
  body: Uint8Array<ArrayBuffer>;
  etag?: string;
  lastModified?: string;
  /** Answers ranges with the whole file. */
  noRanges?: boolean;
  /** The connection drops after so many bytes, once for each entry. */
  drops?: number[];
  status?: number;
  headers?: Record<string, string>;
}

/** Stands in for `fetch` as a server with ranges and ETags would answer, and notes the requests. */
export class FakeServer {
  readonly files = new Map<string, ServedFile>();
  readonly requests: string[] = [];
  offline = false;
  readonly #base: string;

  constructor(base: string) {
    this.#base = base;
  }

  put(name: string, body: string | Uint8Array<ArrayBuffer>, more: Omit<ServedFile, "body"> = {}): void {
    const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
    this.files.set(name, { body: bytes, etag: `"${createHash("sha256").update(bytes).digest("hex")}"`, ...more });
  }

  readonly fetch = async (address: string, { headers, signal }: { headers?: Record<string, string>; signal?: AbortSignal } = {}): Promise<Response> => {
    if (signal?.aborted) throw signal.reason;
    if (this.offline) throw new TypeError("Failed to fetch");
    const url = new URL(address);
    const name = url.pathname.slice(new URL(this.#base).pathname.length);
    const range = headers?.["range"];
    this.requests.push(name + url.search + (range ? ` ${range}` : ""));
    const file = this.files.get(name);
    if (!file) return new Response("nothing here", { status: 404 });
    if (file.status !== undefined) return new Response("", { status: file.status, statusText: "Busy" });
    const [, start = "0", end = ""] = (file.noRanges ? undefined : /^bytes=(\d+)-(\d*)$/.exec(range ?? "")) ?? [];
    const partial = range !== undefined && !file.noRanges;
    const body = file.body.subarray(Number(start), end === "" ? undefined : Number(end) + 1);
    const sent = { ...file.headers, "content-length": String(body.length) } as Record<string, string>;
    if (file.etag !== undefined) sent["etag"] = file.etag;
    if (file.lastModified !== undefined) sent["last-modified"] = file.lastModified;
    if (partial) sent["content-range"] = `bytes ${start}-${Number(start) + body.length - 1}/${file.body.length}`;
    return new Response(stream(body, file.drops?.shift(), signal), { status: partial ? 206 : 200, headers: sent });
  };
}

function stream(body: Uint8Array<ArrayBuffer>, drop: number | undefined, signal: AbortSignal | undefined): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (signal?.aborted) return controller.error(signal.reason);
      // Not together with the last bytes: an error throws away what is queued.
      if (at === drop) return controller.error(new TypeError("network error"));
      const end = Math.min(at + 100_000, drop ?? body.length, body.length);
      if (end > at) controller.enqueue(body.slice(at, end));
      at = end;
      if (at === body.length && at !== drop) controller.close();
    },
  });
}
