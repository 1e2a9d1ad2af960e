import { createReadStream, statSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize, sep } from "node:path";

const types: Record<string, string> = {
  ".css": "text/css",
  ".html": "text/html; charset=utf-8",
  ".jpg": "image/jpeg",
  ".js": "text/javascript",
  ".json": "application/json",
  ".mjs": "text/javascript",
  ".png": "image/png",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
  ".webmanifest": "application/manifest+json",
};

/** Answers with the file of the first folder that has it, with exact types and a strict content security policy. */
export function answerFrom(folders: readonly string[], policy: string): (request: IncomingMessage, response: ServerResponse) => void {
  return (request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url ?? "/", "http://localhost").pathname));
    const name = path.endsWith(sep) ? join(path, "index.html") : path;
    const file = folders.map((folder) => join(folder, name)).find((file) => statSync(file, { throwIfNoEntry: false })?.isFile());
    if (file === undefined) {
      response.writeHead(404, { "content-type": "text/plain" }).end("not found");
      return;
    }
    response.writeHead(200, {
      "content-type": types[extname(file)] ?? "application/octet-stream",
      "content-length": statSync(file).size,
      "content-security-policy": policy,
      "x-content-type-options": "nosniff",
    });
    createReadStream(file).pipe(response);
  };
}

/** Serves folders on 127.0.0.1 as a careful site would. */
export async function serve(folders: readonly string[], policy: string): Promise<{ server: Server; address: string }> {
  const server = createServer(answerFrom(folders, policy));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { server, address: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` };
}
