import { announce, byId } from "../dom";
import { isAborted, isFatal } from "../engine/problem";
import type { Address } from "../shell/address";
import type { Search } from "../shell/snippet";
import { notes, Task, type App, type Job } from "./task";
import { explainedWords } from "./words";
import { Writing, writingNotes } from "./writing";

/** “Describe it”: a caption, word by word, and then where each word looks. */
export function captionTask(app: App, address: Address): Task {
  const prefixBox = byId("prefix", HTMLInputElement);
  const searchBox = byId("search", HTMLSelectElement);
  address.keep("prefix", prefixBox);
  address.keep("words", searchBox);
  return new Task("caption", app, async (job) => {
    const { model, image, signal, show } = job;
    const prefix = prefixBox.value.trim();
    const search = searchOf(searchBox.value);
    const { kind: _, ...how } = search;
    const writing = new Writing();
    app.heat.hide();
    show(writing.element);

    const options = { ...how, ...(prefix === "" ? {} : { prefix }), signal, onToken: writing.add };
    const { caption, logProb, timings } = await model.caption(image, options);

    writing.finish(caption);
    const times = notes(...writingNotes(timings, logProb));
    show(writing.element, times);
    app.measurements.note(model.info, {
      firstTokenMs: timings.firstTokenMs,
      tokensPerSecond: timings.tokensPerSecond,
    });
    app.record({ caption: { prefix, search } });
    announce(`Caption: ${caption}`);
    const words = caption === "" ? undefined : await explain(app, job, caption);
    if (words !== undefined) {
      show(...words, times);
      app.record({ explain: true });
    }
    return "";
  });
}

/** The words with their heat, or `undefined` where they stay plain text. */
async function explain(
  app: App,
  { model, image, signal }: Job,
  caption: string,
): Promise<HTMLElement[] | undefined> {
  const picture = app.picture.get();
  // Older packages cannot.
  if (picture === undefined || typeof model.explain !== "function") return undefined;
  try {
    const explanation = await model.explain(image, caption, { signal });
    return explanation.words.length === 0 ? undefined : explainedWords(explanation, picture, app.heat);
  } catch (error) {
    if (isFatal(error) || isAborted(error)) throw error;
    return undefined;
  }
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
