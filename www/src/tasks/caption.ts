import { byId } from "../dom";
import type { Search } from "../snippet";
import { notes, Task, type App } from "./task";
import { Writing, writingNotes } from "./writing";

/** “Describe it”: a caption, word by word. */
export function captionTask(app: App): Task {
  const prefixBox = byId("prefix", HTMLInputElement);
  const searchBox = byId("search", HTMLSelectElement);
  return new Task("caption", app, async ({ model, image, signal, show }) => {
    const prefix = prefixBox.value.trim();
    const search = searchOf(searchBox.value);
    const { kind: _, ...how } = search;
    const writing = new Writing();
    show(writing.element);

    const options = { ...how, ...(prefix === "" ? {} : { prefix }), signal, onToken: writing.add };
    const { caption, logProb, timings } = await model.caption(image, options);

    writing.finish(caption);
    show(writing.element, notes(...writingNotes(timings, logProb)));
    app.record({ caption: { prefix, search } });
    return `Caption: ${caption}`;
  });
}

function searchOf(value: string): Search {
  switch (value) {
    case "beams":
      return { kind: "beams", beams: 4 };
    case "sample":
      return { kind: "sample", topK: 10, seed: Math.floor(Math.random() * 10_000) };
    default:
      return { kind: "greedy" };
  }
}
