import type { LabelScore } from "coca-wasm";
import { make } from "../dom";
import { percent } from "../format";

/** Bars that stay in place and move with the scores; the leading one stands out. */
export class LiveBars {
  readonly element: HTMLOListElement;
  readonly #rows: Map<string, { row: HTMLLIElement; bar: HTMLElement; score: HTMLElement }>;

  constructor(labels: readonly string[], title: string) {
    this.#rows = new Map(
      labels.map((label) => {
        const bar = make("span", { className: "bar", ariaHidden: "true" });
        const score = make("span", { className: "bar-score" }, "–");
        const row = make("li", {}, make("span", { className: "bar-name" }, label), score, bar);
        bar.style.setProperty("--score", "0");
        return [label, { row, bar, score }];
      }),
    );
    const rows = [...this.#rows.values()].map(({ row }) => row);
    this.element = make("ol", { className: "bars moving", ariaLabel: title }, ...rows);
  }

  show(scores: readonly LabelScore[], leader: string | undefined): void {
    for (const { label, score } of scores) {
      const parts = this.#rows.get(label);
      if (parts === undefined) continue;
      parts.bar.style.setProperty("--score", score.toFixed(4));
      parts.score.textContent = percent(score);
      parts.row.classList.toggle("leading", label === leader);
    }
  }
}
