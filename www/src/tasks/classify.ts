import { bars } from "../bars";
import { byId } from "../dom";
import { duration, percent } from "../format";
import { parseList, templateProblem } from "../labels";
import type { Address } from "../shell/address";
import { InputError, notes, Task, type App } from "./task";

/** “Name it”: the visitor's labels, the best first. */
export function classifyTask(app: App, address: Address): Task {
  const labelBox = byId("labels", HTMLTextAreaElement);
  const templateBox = byId("template", HTMLInputElement);
  address.keep("labels", labelBox);
  address.keep("template", templateBox);
  return new Task("classify", app, async ({ model, image, signal, show }) => {
    const labels = parseList(labelBox.value);
    const template = templateBox.value.trim();
    if (labels.length < 2)
      throw new InputError("Please give two labels or more: the model chooses between them");
    const problem = template === "" ? undefined : templateProblem(template);
    if (problem !== undefined) throw new InputError(problem);

    const start = performance.now();
    const scores = await model.classify(image, labels, template === "" ? { signal } : { template, signal });
    const time = performance.now() - start;

    const shown = scores.slice(0, 5).map(({ label, score }) => ({ name: label, score }));
    const amount =
      shown.length < labels.length
        ? `the best ${shown.length} of ${labels.length} labels`
        : `${labels.length} labels`;
    show(bars(shown, "Labels, the best first"), notes(amount, duration(time)));
    app.record({ classify: { labels, template } });
    const [best] = scores;
    return best === undefined ? "" : `Label: ${best.label}, ${percent(best.score)}`;
  });
}
