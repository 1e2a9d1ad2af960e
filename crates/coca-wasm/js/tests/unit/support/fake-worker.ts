import type { WorkerLike } from "../../../src/connection.js";
import type { Handlers, Server } from "../../../src/worker/server.js";
import { serve, type ServerPort } from "../../../src/worker/server.js";

/** A worker without a thread: the real protocol and structured cloning over a `MessageChannel`. */
export class FakeWorker extends EventTarget {
  terminated = false;
  server: Server | undefined;
  readonly #channel = new MessageChannel();

  constructor(handlers: Partial<Handlers>) {
    super();
    const { port1, port2 } = this.#channel;
    port1.addEventListener("message", (event) => {
      if (!this.terminated) this.dispatchEvent(new MessageEvent("message", { data: event.data as unknown }));
    });
    port1.start();
    serve(port2 as unknown as ServerPort, (server) => {
      this.server = server;
      return handlers as Handlers;
    });
    port2.start();
  }

  postMessage(message: unknown, transfer: Transferable[] = []): void {
    this.#channel.port1.postMessage(message, transfer as never);
  }

  terminate(): void {
    this.terminated = true;
    this.#channel.port1.close();
  }
}

/** The same, typed as a connection wants it. */
export function workerLike(worker: FakeWorker): WorkerLike {
  return worker as unknown as WorkerLike;
}

/** A promise to be settled from outside. */
export function gate(): { readonly opened: Promise<void>; open(): void } {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open };
}

/** Lets every message that is on its way arrive. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setTimeout(resolve, 2));
}
