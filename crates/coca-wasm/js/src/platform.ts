import type { WorkerLike } from "./connection.js";
import { CocaError } from "./error.js";

/** What differs between a browser and Node.js on the caller's side. */
export interface Platform {
  /** Why nothing at all can run here, or `undefined` if it can. */
  reasonAgainst(): string | undefined;
  /** Starts the package's own worker. */
  startWorker(): WorkerLike;
  /** Resolves an address as the caller means it; a worker would resolve against its own script. */
  absoluteUrl(address: string): string;
}

const browser: Platform = {
  reasonAgainst() {
    if (typeof Worker === "undefined") return "there are no web workers here: coca-wasm runs in browsers and in Node.js";
    return undefined;
  },
  startWorker() {
    // In full and in one piece, because that is the form that bundlers recognise.
    return new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "coca-wasm" }) as WorkerLike;
  },
  absoluteUrl(address) {
    const base = typeof document === "undefined" ? globalThis.location?.href : document.baseURI;
    return new URL(address, base).href;
  },
};

let current = browser;

/** The platform that this runs on. */
export function platform(): Platform {
  return current;
}

/** For the entry of another platform, once, before anything else runs. */
export function usePlatform(other: Platform): void {
  current = other;
}

/** An address as the caller means it. */
export function absoluteUrl(address: string): string {
  try {
    return current.absoluteUrl(address);
  } catch (cause) {
    throw new CocaError("invalid-argument", `"${address}" is not an address`, { cause });
  }
}
