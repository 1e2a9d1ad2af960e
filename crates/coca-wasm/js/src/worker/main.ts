/** The worker's entry: bundled into one file without imports, because some bundlers copy workers as they are. */
import * as full from "coca-bindings";
import * as cpu from "coca-cpu-bindings";
import { CocaError } from "../error.js";
import { Runtime } from "./runtime.js";
import { serve, type Server, type ServerPort } from "./server.js";
import { isTrap, trapError } from "./trap.js";

/** Traps inside of a Rust future reach nobody's `catch`. */
function watchTraps(server: Server): void {
  const onThrown = (event: Event, thrown: unknown): void => {
    event.preventDefault();
    // After a panic this comes second: its hook has told the page, which no longer listens.
    server.fatal(isTrap(thrown) ? trapError(thrown) : new CocaError("internal", `unexpected: ${String(thrown)}`));
  };
  addEventListener("error", (event) => onThrown(event, event.error));
  addEventListener("unhandledrejection", (event) => onThrown(event, event.reason));
}

serve(globalThis as unknown as ServerPort, (server) => {
  watchTraps(server);
  return new Runtime({ full, cpu }, server).handlers();
});
