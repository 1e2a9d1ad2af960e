import type { GenerationTimings, LoadTimings } from "../types.js";

/** Takes the times of loading. */
export class Clock {
  readonly #began = performance.now();
  readonly #laps = { runtimeMs: 0, downloadMs: 0, uploadMs: 0, selfTestMs: 0 };
  #start = this.#began;

  /** The next laps count from here. */
  start(): void {
    this.#start = performance.now();
  }

  /** A function that writes the time down and gives back what it is given: `promise.then(clock.lap(…))`. */
  lap(name: Exclude<keyof LoadTimings, "totalMs">): <T>(value: T) => T {
    const start = this.#start;
    return (value) => {
      this.#laps[name] = performance.now() - start;
      return value;
    };
  }

  /** All of them, and the time since the clock was made. */
  timings(): LoadTimings {
    return { ...this.#laps, totalMs: performance.now() - this.#began };
  }
}

/** Takes the times of a generation. */
export class Stopwatch {
  readonly #began = performance.now();
  #first: number | undefined;
  #steps = 0;

  /** The text has become one token longer. */
  step(): void {
    this.#steps++;
    this.#first ??= performance.now();
  }

  /** To be asked when the text is finished. */
  timings(): GenerationTimings {
    const now = performance.now();
    const first = this.#first ?? now;
    const perSecond = ((this.#steps - 1) * 1000) / (now - first);
    return {
      firstTokenMs: first - this.#began,
      totalMs: now - this.#began,
      tokensPerSecond: this.#steps > 1 && Number.isFinite(perSecond) ? perSecond : 0,
    };
  }
}
