import { createHash } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join, normalize } from "node:path";

/** Serves the user's site, and below `models/` model folders as a hub does, with ranges and ETags, or as badly as asked. */
export class ModelServer {
  /** Requests below `models/`: the path, and the range if there was one. */
  readonly requests: string[] = [];
  /** Files that replace those on disk, by path; `undefined` for files that are gone. */
  readonly replaced = new Map<string, Buffer | undefined>();
  /** Bytes of weights after which the connection drops, once for each entry. */
  drops: number[] = [];
  /** Connections to models are refused. */
  down = false;
  readonly #server: Server;
  readonly #folder: string;
  readonly #passOn: (request: IncomingMessage, response: ServerResponse) => void;

  /** `passOn` answers everything that is not below `models/`. */
  constructor(folder: string, passOn: (request: IncomingMessage, response: ServerResponse) => void) {
    this.#folder = folder;
    this.#passOn = passOn;
    this.#server = createServer((request, response) => this.#answer(request, response));
  }

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/`;
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = normalize(decodeURIComponent(new URL(request.url ?? "/", "http://localhost").pathname));
    if (!path.startsWith("/models/")) return this.#passOn(request, response);
    const { range } = request.headers;
    this.requests.push(range === undefined ? path : `${path} ${range}`);
    if (this.down) return void request.socket.destroy();
    const body = this.#read(path);
    if (!body) return void response.writeHead(404, { "content-type": "text/plain" }).end("not found");
    const etag = `"${createHash("sha256").update(body).digest("hex").slice(0, 16)}"`;
    const [, start] = /^bytes=(\d+)-/.exec(range ?? "") ?? [];
    const from = Number(start ?? 0);
    const sent = body.subarray(from, range?.endsWith("-") === false ? Number(range.split("-")[1]) + 1 : undefined);
    response.writeHead(start === undefined ? 200 : 206, {
      "content-type": "application/octet-stream",
      "content-length": sent.length,
      "accept-ranges": "bytes",
      etag,
      ...(start === undefined ? {} : { "content-range": `bytes ${from}-${from + sent.length - 1}/${body.length}` }),
    });
    const drop = path.endsWith(".safetensors") ? this.drops.shift() : undefined;
    if (drop === undefined) return void response.end(sent);
    // After the bytes have left: a reset would throw away what is on its way.
    response.write(sent.subarray(0, drop), () => setTimeout(() => request.socket.destroy(), 300));
  }

  #read(path: string): Buffer | undefined {
    if (this.replaced.has(path)) return this.replaced.get(path);
    const file = join(this.#folder, path);
    return statSync(file, { throwIfNoEntry: false })?.isFile() ? readFileSync(file) : undefined;
  }
}
