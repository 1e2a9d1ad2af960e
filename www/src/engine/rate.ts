/** How fast bytes arrive, over the last few seconds. */
export class Rate {
  static readonly #window = 4000;
  readonly #files = new Map<string, number>();
  readonly #samples: { at: number; bytes: number }[] = [];

  /** Notes that `loaded` bytes of a file are there at time `at` (milliseconds). */
  add(file: string, loaded: number, at: number): void {
    this.#files.set(file, loaded);
    const bytes = [...this.#files.values()].reduce((one, other) => one + other, 0);
    this.#samples.push({ at, bytes });
    while ((this.#samples[1]?.at ?? at) < at - Rate.#window) this.#samples.shift();
  }

  /** Bytes a second; `undefined` until there is enough to tell. */
  get perSecond(): number | undefined {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)];
    if (first === undefined || last === undefined || last.at - first.at < 250) return undefined;
    const rate = (1000 * (last.bytes - first.bytes)) / (last.at - first.at);
    return rate > 0 ? rate : undefined;
  }

  /** Seconds until `bytes` more are there; `undefined` until there is enough to tell. */
  secondsFor(bytes: number): number | undefined {
    const rate = this.perSecond;
    return rate === undefined ? undefined : bytes / rate;
  }
}
