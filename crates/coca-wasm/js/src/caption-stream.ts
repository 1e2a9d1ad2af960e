import type { Caption } from "./types.js";

/**
 * A caption while it is written: iterate over its pieces, and await {@link result} for the whole. Leaving the loop
 * early aborts the generation.
 */
export class CaptionStream implements AsyncIterable<string> {
  /** The finished caption; rejects with code `aborted` when the loop was left early. */
  readonly result: Promise<Caption>;
  readonly #stop: () => void;
  readonly #pieces: string[] = [];
  #over = false;
  #wake: (() => void) | undefined;

  /**
   * @param start begins the generation, hands over its pieces, and settles with it
   * @param stop aborts it
   */
  constructor(start: (onToken: (piece: string) => void) => Promise<Caption>, stop: () => void) {
    this.#stop = stop;
    this.result = start((piece) => {
      this.#pieces.push(piece);
      this.#notify();
    }).finally(() => {
      this.#over = true;
      this.#notify();
    });
    // Whoever only iterates learns of a failure there; without this the page would report it a second time.
    this.result.catch(() => undefined);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string, void, undefined> {
    try {
      for (;;) {
        const piece = this.#pieces.shift();
        if (piece !== undefined) yield piece;
        else if (this.#over) break;
        else await new Promise<void>((resolve) => (this.#wake = resolve));
      }
      await this.result;
    } finally {
      if (!this.#over) this.#stop();
    }
  }

  #notify(): void {
    this.#wake?.();
    this.#wake = undefined;
  }
}
