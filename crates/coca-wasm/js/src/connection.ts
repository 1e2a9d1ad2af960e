import { abortError, CocaError, fromWire } from "./error.js";
import type { EventOf, HostMessage, MethodName, Params, Result, WorkerMessage } from "./protocol.js";
import type { Logger } from "./types.js";

/** The part of `Worker` that is used, so that tests can stand in for it. */
export interface WorkerLike {
  postMessage(message: HostMessage, transfer: Transferable[]): void;
  addEventListener(type: "message", listener: (event: MessageEvent<WorkerMessage>) => void): void;
  addEventListener(type: "error", listener: (event: ErrorEvent) => void): void;
  addEventListener(type: "messageerror", listener: () => void): void;
  terminate(): void;
}

/** Extras of one call. */
export interface CallExtras<M extends MethodName> {
  readonly signal?: AbortSignal | undefined;
  readonly transfer?: Transferable[];
  readonly onEvent?: ((event: EventOf<M>) => void) | undefined;
}

interface Pending {
  resolve(value: unknown): void;
  reject(error: unknown): void;
  onEvent(event: unknown): void;
}

/** The page's end of a worker: every call settles, whatever happens to the worker. */
export class Connection {
  readonly #worker: WorkerLike;
  readonly #logger: Logger | undefined;
  readonly #pending = new Map<number, Pending>();
  /** Settles when no more calls are possible, with the reason. */
  readonly ended: Promise<CocaError>;
  #nextId = 0;
  #end: CocaError | undefined;
  #tellEnd: (error: CocaError) => void = () => undefined;

  constructor(worker: WorkerLike, logger: Logger | undefined) {
    this.#worker = worker;
    this.#logger = logger;
    this.ended = new Promise((resolve) => (this.#tellEnd = resolve));
    worker.addEventListener("message", (event) => this.#receive(event.data));
    worker.addEventListener("messageerror", () => {
      this.end(new CocaError("worker-failed", "the worker sent a message that cannot be read"));
    });
    worker.addEventListener("error", (event) => {
      // Handled here: it rejects the calls, and does not belong on the page's console too.
      event.preventDefault?.();
      const what = event.message ? `: ${event.message}` : "; is its script served, and allowed by worker-src?";
      this.end(new CocaError("worker-failed", `the worker failed${what}`));
    });
  }

  /** Calls a method of the worker. Rejects only with a {@link CocaError}, or with what `onEvent` throws. */
  call<M extends MethodName>(method: M, params: Params<M>, extras: CallExtras<M> = {}): Promise<Result<M>> {
    const { signal, transfer = [], onEvent } = extras;
    if (this.#end) return Promise.reject(afterEnd(this.#end));
    if (signal?.aborted) return Promise.reject(abortError(signal));
    const id = this.#nextId++;
    return new Promise<Result<M>>((resolve, reject) => {
      const abort = (reason: unknown): void => {
        settle();
        this.#worker.postMessage({ type: "abort", id }, []);
        reject(reason);
      };
      const onAbort = (): void => {
        if (signal) abort(abortError(signal));
      };
      const settle = (): void => {
        this.#pending.delete(id);
        signal?.removeEventListener("abort", onAbort);
      };
      this.#pending.set(id, {
        resolve: (value) => {
          settle();
          resolve(value as Result<M>);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
        onEvent: (event) => {
          try {
            onEvent?.(event as EventOf<M>);
          } catch (thrown) {
            abort(thrown);
          }
        },
      });
      signal?.addEventListener("abort", onAbort);
      try {
        this.#worker.postMessage({ type: "call", id, method, params, events: onEvent !== undefined } as HostMessage, transfer);
      } catch (thrown) {
        settle();
        reject(new CocaError("invalid-argument", `the arguments cannot be sent to the worker: ${String(thrown)}`));
      }
    });
  }

  /** Stops the worker and rejects all calls, those under way and those to come. Only the first reason counts. */
  end(error: CocaError): void {
    if (this.#end) return;
    this.#end = error;
    this.#worker.terminate();
    for (const pending of [...this.#pending.values()]) pending.reject(error);
    this.#tellEnd(error);
  }

  #receive(message: WorkerMessage): void {
    switch (message.type) {
      case "result":
        // A call that was aborted is no longer pending; its late answer has nobody to go to.
        this.#pending.get(message.id)?.resolve(message.value);
        break;
      case "error":
        this.#pending.get(message.id)?.reject(fromWire(message.error));
        break;
      case "event":
        this.#pending.get(message.id)?.onEvent(message.event);
        break;
      case "log":
        this.#logger?.[message.level]?.(message.message);
        break;
      case "fatal":
        this.end(fromWire(message.error));
        break;
    }
  }
}

/** A later call gets its own error: the same code, and words that say it came too late. */
function afterEnd(end: CocaError): CocaError {
  if (end.code === "disposed") return new CocaError("disposed", end.message);
  return new CocaError(end.code, `the model stopped earlier and must be loaded again (${end.message})`, { cause: end });
}
