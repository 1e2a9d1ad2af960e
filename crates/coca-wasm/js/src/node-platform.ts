import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { type Transferable as NodeTransferable, Worker } from "node:worker_threads";
import type { WorkerLike } from "./connection.js";
import type { Platform } from "./platform.js";
import type { HostMessage, WorkerMessage } from "./protocol.js";

/** Node.js: worker threads, and addresses that may be paths of files. */
export const nodePlatform: Platform = {
  reasonAgainst: () => undefined,
  startWorker: () => new NodeWorker(new URL("./worker-node.js", import.meta.url)),
  absoluteUrl(address) {
    // A scheme of one letter is a drive of Windows.
    return /^[a-z][a-z0-9+.-]+:/i.test(address) ? new URL(address).href : pathToFileURL(resolve(address)).href;
  },
};

/** A worker thread with the manners of a web worker. It keeps the process alive only while a call is under way. */
class NodeWorker implements WorkerLike {
  readonly #worker: Worker;
  readonly #calls = new Set<number>();

  constructor(script: URL) {
    // Not those of the process: `--input-type` makes a worker fail to start.
    this.#worker = new Worker(script, { name: "coca-wasm", execArgv: [] });
    this.#worker.unref();
    this.#worker.on("message", (message: WorkerMessage) => {
      if (message.type === "result" || message.type === "error") this.#calls.delete(message.id);
      if (this.#calls.size === 0) this.#worker.unref();
    });
  }

  postMessage(message: HostMessage, transfer: Transferable[]): void {
    if (message.type === "call") {
      this.#calls.add(message.id);
      this.#worker.ref();
    }
    this.#worker.postMessage(message, transfer as unknown as readonly NodeTransferable[]);
  }

  addEventListener(type: string, listener: (event: never) => void): void {
    if (type === "message") this.#worker.on("message", (data) => listener({ data } as never));
    else this.#worker.on(type, (error: unknown) => listener({ message: String(error) } as never));
  }

  terminate(): void {
    void this.#worker.terminate();
  }
}
