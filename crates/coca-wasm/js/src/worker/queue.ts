import { abortError } from "../error.js";
import { macrotask } from "./macrotask.js";

/** Lets the jobs that wait go first; rejects when the own job has been aborted meanwhile. */
export type Turn = () => Promise<void>;

/**
 * Runs jobs one at a time in the order they came. A long job can give way between its parts, and then goes on when
 * every other has had its turn. A job that fails never affects the next one, and an aborted job that has not started
 * never does.
 */
export class JobQueue {
  readonly #controllers = new Map<number, AbortController>();
  readonly #waiting: (() => void)[] = [];
  #busy = false;

  /** Queues `job` under `id`; settles as the job does. */
  async run<T>(id: number, job: (signal: AbortSignal, turn: Turn) => Promise<T>): Promise<T> {
    const controller = new AbortController();
    this.#controllers.set(id, controller);
    const { signal } = controller;
    try {
      await this.#begin();
      try {
        await heard(signal);
        return await job(signal, async () => {
          this.#end();
          await this.#begin();
          await heard(signal);
        });
      } finally {
        this.#end();
      }
    } finally {
      this.#controllers.delete(id);
    }
  }

  /** Aborts the job's signal, if it is still queued or running. */
  abort(id: number): void {
    this.#controllers.get(id)?.abort();
  }

  #begin(): Promise<void> {
    if (this.#busy) return new Promise((resolve) => this.#waiting.push(resolve));
    this.#busy = true;
    return Promise.resolve();
  }

  #end(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#busy = false;
  }
}

/** While wasm computes nothing is received: the message that aborts this job may be waiting right behind it. */
async function heard(signal: AbortSignal): Promise<void> {
  await macrotask();
  if (signal.aborted) throw abortError(signal);
}
