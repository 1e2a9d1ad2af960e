import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { extname } from "node:path";
import { Readable } from "node:stream";
import { fileURLToPath } from "node:url";

const TYPES: Readonly<Record<string, string>> = {
  ".json": "application/json",
  ".wasm": "application/wasm",
};

/** `fetch` for a thread of Node.js, which also reads files: `file:` addresses, whole or by a `Range: bytes=FROM-`. */
export function fetchWithFiles(fetch: typeof globalThis.fetch): typeof globalThis.fetch {
  return async (input, init) => {
    const request = new Request(input, init);
    return request.url.startsWith("file:") ? readFile(request) : fetch(input, init);
  };
}

async function readFile(request: Request): Promise<Response> {
  request.signal.throwIfAborted();
  const path = fileURLToPath(request.url);
  const size = await stat(path).then(
    (found) => (found.isFile() ? found.size : undefined),
    () => undefined,
  );
  if (size === undefined) return new Response(null, { status: 404 });
  const range = /^bytes=(\d+)-$/.exec(request.headers.get("range") ?? "");
  const start = range ? Number(range[1]) : 0;
  if (start > size) return new Response(null, { status: 416 });
  const headers: Record<string, string> = {
    "content-length": String(size - start),
    "content-type": TYPES[extname(path)] ?? "application/octet-stream",
    ...(range ? { "content-range": `bytes ${start}-${size - 1}/${size}` } : {}),
  };
  const body = request.method === "HEAD" ? null : Readable.toWeb(createReadStream(path, { start, signal: request.signal }));
  return new Response(body as BodyInit | null, { status: range ? 206 : 200, headers });
}
