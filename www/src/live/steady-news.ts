/** How long a label has to lead before it is told, and how long a screen reader gets in between. */
const settled = 1200;
const apart = 4000;

/** Decides when a leading label is worth telling: once it has lasted, and not too often. */
export class SteadyNews {
  #candidate: string | undefined;
  #since = 0;
  #told: string | undefined;
  #toldAt = -Infinity;

  /** Takes the label that leads at time `at` (milliseconds); gives it back when it should be told now. */
  next(label: string, at: number): string | undefined {
    if (label !== this.#candidate) {
      this.#candidate = label;
      this.#since = at;
    }
    if (label === this.#told || at - this.#since < settled || at - this.#toldAt < apart) return undefined;
    this.#told = label;
    this.#toldAt = at;
    return label;
  }
}
