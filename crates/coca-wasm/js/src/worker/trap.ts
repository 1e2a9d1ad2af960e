import { CocaError } from "../error.js";

/** Whether wasm itself stopped, after which its memory is in an unknown state. */
export function isTrap(thrown: unknown): thrown is WebAssembly.RuntimeError {
  return thrown instanceof WebAssembly.RuntimeError;
}

/** The error for a trap. A panic tells its reason before it traps, so this is for those that come without a word. */
export function trapError(trap: WebAssembly.RuntimeError): CocaError {
  return new CocaError(
    "out-of-memory",
    `the runtime stopped without a message, as it does when memory runs out: ${trap.message}`,
    { cause: trap },
  );
}
