import { abortError } from "../error.js";
import { macrotask } from "./macrotask.js";

/**
 * Runs jobs one at a time in the order they came. A job that fails never affects the next one, and an aborted job
 * that has not started never does.
 */
export class JobQueue {
  readonly #controllers = new Map<number, AbortController>();
  #last: Promise<void> = Promise.resolve();

  /** Queues `job` under `id`; settles as the job does. */
  run<T>(id: number, job: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const controller = new AbortController();
    this.#controllers.set(id, controller);
    const { signal } = controller;
    const result = this.#last.then(async () => {
      // While wasm computes nothing is received: the message that aborts this job may be waiting right behind it.
      await macrotask();
      if (signal.aborted) throw abortError(signal);
      return job(signal);
    });
    const done = (): void => void this.#controllers.delete(id);
    // Both ways, so that a failure ends here instead of rejecting everything that is queued behind it.
    this.#last = result.then(done, done);
    return result;
  }

  /** Aborts the job's signal, if it is still queued or running. */
  abort(id: number): void {
    this.#controllers.get(id)?.abort();
  }
}
