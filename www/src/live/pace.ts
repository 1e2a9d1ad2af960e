/** Frames a second, over the last two seconds. */
export class Pace {
  static readonly #window = 2000;
  readonly #times: number[] = [];

  /** Notes a frame at time `at` (milliseconds). */
  add(at: number): void {
    this.#times.push(at);
    while (this.#times.length > 2 && (this.#times[0] ?? at) < at - Pace.#window) this.#times.shift();
  }

  get perSecond(): number | undefined {
    const [first, last] = [this.#times[0], this.#times.at(-1)];
    if (first === undefined || last === undefined || last <= first) return undefined;
    return (1000 * (this.#times.length - 1)) / (last - first);
  }
}
