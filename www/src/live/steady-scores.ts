import type { LabelScore } from "coca-wasm";

/** Weight of the newest frame in the mean that is shown. */
const weight = 0.3;

/** Scores of labels as a moving mean over the frames, in the order in which the labels were given. */
export class SteadyScores {
  readonly #scores: Map<string, number>;
  #frames = 0;

  constructor(labels: readonly string[]) {
    this.#scores = new Map(labels.map((label) => [label, 0]));
  }

  /** Takes the scores of one more frame. */
  add(scores: readonly LabelScore[]): void {
    // The first frame is all there is.
    const share = this.#frames === 0 ? 1 : weight;
    this.#frames += 1;
    for (const { label, score } of scores) {
      const before = this.#scores.get(label);
      if (before !== undefined) this.#scores.set(label, before + share * (score - before));
    }
  }

  get all(): readonly LabelScore[] {
    return [...this.#scores].map(([label, score]) => ({ label, score }));
  }

  get leader(): LabelScore | undefined {
    return this.all.reduce<LabelScore | undefined>(
      (best, one) => (best && best.score >= one.score ? best : one),
      undefined,
    );
  }
}
