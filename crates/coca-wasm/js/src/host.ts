import type { CallExtras, Connection } from "./connection.js";
import { abortError, asCocaError, CocaError } from "./error.js";
import { gpuFailed, type RunningModel, startModel } from "./load.js";
import type { EventOf, MethodName, Params, Result } from "./protocol.js";
import type { LoadOptions, ModelInfo, ModelSource } from "./types.js";

/** So many times in a row, without one call that succeeds in between, a GPU may fail before it is given up. */
const MAX_RECOVERIES = 3;

/** Loads the model again: on the same device, or for a reason on the CPU. */
export type Restart = (reasonForCpu: string | undefined, signal: AbortSignal) => Promise<RunningModel>;

/**
 * A model that outlives its worker. When the GPU fails, a new worker loads the model from the same source; a call that
 * was under way is made once more there, and those that come meanwhile wait.
 */
export class ModelHost {
  readonly #restart: Restart;
  readonly #options: LoadOptions;
  readonly #controller = new AbortController();
  #running: RunningModel;
  #recovery: Promise<void> | undefined;
  #recoveries = 0;
  #failure: CocaError | undefined;
  #end: CocaError | undefined;

  constructor(running: RunningModel, restart: Restart, options: LoadOptions) {
    this.#running = running;
    this.#restart = restart;
    this.#options = options;
    this.#watch(running.connection);
  }

  /** Loads a model. */
  static async start(source: ModelSource | undefined, options: LoadOptions): Promise<ModelHost> {
    // The signal and the progress are the first load's: both may mean something else by the time of a second.
    const { signal: _, onProgress: __, ...lasting } = options;
    const restart: Restart = (reason, signal) => startModel(source, { ...lasting, signal }, reason);
    return new ModelHost(await startModel(source, options), restart, options);
  }

  /** Of the model as it runs now. */
  get info(): ModelInfo {
    return this.#running.info;
  }

  /** Calls a method of the worker. What `transfer` lists is copied where the call may have to be made again. */
  async call<M extends MethodName>(method: M, params: Params<M>, extras: CallExtras<M> = {}): Promise<Result<M>> {
    let delivered = 0;
    for (let again = false; ; again = true) {
      if (this.#recovery) await unlessAborted(this.#recovery, extras.signal);
      if (this.#end) throw new CocaError(this.#end.code, this.#end.message);
      if (extras.signal?.aborted) throw abortError(extras.signal);
      if (again && this.#failure) throw this.#failure;
      const { connection, info } = this.#running;
      let seen = 0;
      const onEvent = extras.onEvent && ((event: EventOf<M>): void => {
        // The first of them were passed on before the GPU failed.
        if (seen++ < delivered) return;
        delivered = seen;
        extras.onEvent?.(event);
      });
      const transfer = info.device === "webgpu" ? [] : extras.transfer ?? [];
      try {
        const result = await connection.call(method, params, { signal: extras.signal, transfer, onEvent });
        this.#recoveries = 0;
        return result;
      } catch (thrown) {
        if (again || !this.#recovers(connection, thrown)) throw thrown;
      }
    }
  }

  /** Stops the worker, and rejects all calls, those under way and those to come. */
  end(error: CocaError): void {
    if (this.#end) return;
    this.#end = error;
    this.#controller.abort(error);
    this.#running.connection.end(error);
  }

  /** A GPU may also be lost while nobody is waiting for it. */
  #watch(connection: Connection): void {
    void connection.ended.then((error) => this.#recovers(connection, error));
  }

  /** Whether a call that failed so may be made once more, on a worker that is being started. */
  #recovers(connection: Connection, thrown: unknown): boolean {
    if (!(thrown instanceof CocaError) || this.#end) return false;
    // Another call has noticed before, and what runs now is another worker.
    if (connection !== this.#running.connection) return FAILURES.has(thrown.code);
    if (this.#recovery) return true;
    const plan = this.#plan(thrown);
    if (!plan) return false;
    connection.end(thrown);
    this.#recoveries++;
    this.#recovery = this.#recover(thrown, plan.reasonForCpu).finally(() => (this.#recovery = undefined));
    return true;
  }

  /** What can be done about a failure, if anything. */
  #plan(error: CocaError): { reasonForCpu: string | undefined } | undefined {
    if (this.#running.info.device !== "webgpu" || !FAILURES.has(error.code)) return undefined;
    if (error.code === "device-lost" && this.#recoveries < MAX_RECOVERIES) return { reasonForCpu: undefined };
    // The same GPU would fail again; without a say in the device the CPU may do.
    return (this.#options.device ?? "auto") === "auto" ? { reasonForCpu: gpuFailed(error) } : undefined;
  }

  async #recover(error: CocaError, reasonForCpu: string | undefined): Promise<void> {
    this.#failure = undefined;
    this.#options.logger?.warn?.(`loading the model again after a failure of the GPU: ${error.message}`);
    try {
      this.#options.onRecover?.(error);
    } catch (thrown) {
      this.#options.logger?.error?.(`onRecover failed: ${String(thrown)}`);
    }
    try {
      const running = await this.#restart(reasonForCpu, this.#controller.signal);
      this.#running = running;
      if (this.#end) running.connection.end(this.#end);
      else this.#watch(running.connection);
    } catch (thrown) {
      this.#failure = asCocaError(thrown);
      this.#options.logger?.error?.(`the model could not be loaded again: ${this.#failure.message}`);
    }
  }
}

/** Failures of the GPU itself, after which another worker may do. */
const FAILURES: ReadonlySet<string> = new Set(["device-lost", "out-of-memory", "webgpu-failed"]);

/** Waits, but not for longer than the signal allows: the call itself then rejects. */
async function unlessAborted(wait: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (!signal) return wait;
  if (signal.aborted) return;
  let stop = (): void => undefined;
  const aborted = new Promise<void>((resolve) => {
    stop = resolve;
    signal.addEventListener("abort", stop, { once: true });
  });
  await Promise.race([wait, aborted]);
  signal.removeEventListener("abort", stop);
}
