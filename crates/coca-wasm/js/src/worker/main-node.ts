/** The worker's entry in Node.js, for a worker thread. */
import { parentPort } from "node:worker_threads";
import * as full from "coca-bindings";
import * as cpu from "coca-cpu-bindings";
import { CocaError } from "../error.js";
import type { HostMessage, WorkerMessage } from "../protocol.js";
import { fetchWithFiles } from "./node-fetch.js";
import { Runtime } from "./runtime.js";
import { serve, type Server, type ServerPort } from "./server.js";
import { isTrap, trapError } from "./trap.js";

globalThis.fetch = fetchWithFiles(globalThis.fetch);

/** Traps inside of a Rust future reach nobody's `catch`. */
function watchTraps(server: Server): void {
  const onThrown = (thrown: unknown): void => {
    server.fatal(isTrap(thrown) ? trapError(thrown) : new CocaError("internal", `unexpected: ${String(thrown)}`));
  };
  process.on("uncaughtException", onThrown);
  process.on("unhandledRejection", onThrown);
}

const parent = parentPort;
if (parent) {
  const port: ServerPort = {
    postMessage: (message: WorkerMessage) => parent.postMessage(message),
    addEventListener: (_, listener) => {
      parent.on("message", (data: HostMessage) => listener({ data } as MessageEvent<HostMessage>));
    },
  };
  serve(port, (server) => {
    watchTraps(server);
    return new Runtime({ full, cpu }, server).handlers();
  });
}
