import { bars } from "../bars";
import { announce, byId, make } from "../dom";
import { duration, percent } from "../format";
import type { CoCa } from "coca-wasm";
import { notes } from "../tasks/task";

const frames = 16;

/** Classifies a whole video file by frames taken evenly from it, and shows the result under the live bars. */
export async function classifyWhole(
  model: CoCa,
  file: File,
  labels: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const result = byId("video-result", HTMLDivElement);
  // Older packages cannot.
  if (typeof model.classifyVideo !== "function") return;
  const title = make("h3", {}, "The whole video");
  const progress = make("p", { className: "notes" }, "opening it …");
  result.hidden = false;
  result.replaceChildren(title, progress);
  try {
    let seen = 0;
    const start = performance.now();
    const onFrame = (): void => {
      seen += 1;
      progress.textContent = `looked at ${Math.min(seen, frames)} of ${frames} moments`;
    };
    const scores = await model.classifyVideo(file, labels, { frames, topK: 3, signal, onFrame });
    if (signal.aborted) return;
    result.replaceChildren(
      title,
      bars(
        scores.map(({ label, score }) => ({ name: label, score })),
        "Labels of the whole video, the best first",
      ),
      notes(`the mean of ${frames} moments`, duration(performance.now() - start)),
    );
    const [best] = scores;
    if (best) announce(`The whole video: ${best.label}, ${percent(best.score)}`);
  } catch (error) {
    result.hidden = true;
    throw error;
  }
}
