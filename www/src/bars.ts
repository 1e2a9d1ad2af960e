import { make } from "./dom";
import { percent } from "./format";

/** Scores as a list, the best first: the name and the number as text, and a bar that only repeats them. */
export function bars(scores: readonly { name: string; score: number }[], title: string): HTMLElement {
  return make(
    "ol",
    { className: "bars", ariaLabel: title },
    ...scores.map(({ name, score }) => {
      const bar = make("span", { className: "bar", ariaHidden: "true" });
      bar.style.setProperty("--score", String(Math.min(1, Math.max(0, score))));
      return make(
        "li",
        {},
        make("span", { className: "bar-name" }, name),
        make("span", { className: "bar-score" }, percent(score)),
        bar,
      );
    }),
  );
}
