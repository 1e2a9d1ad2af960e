import type { Classifier, LabelScore } from "coca-wasm";

/**
 * Classifies what a video shows, frame after frame, until the signal aborts. While one frame is looked at the next ones
 * pass unseen, so that the answer is always about now.
 */
export async function watchFrames(
  video: HTMLVideoElement,
  classifier: Pick<Classifier, "classify">,
  signal: AbortSignal,
  onScores: (scores: readonly LabelScore[], ms: number) => void,
): Promise<void> {
  while (!signal.aborted) {
    await nextFrame(video, signal);
    if (signal.aborted) return;
    // A tab in the background needs no labels; and the last frame may be gone.
    if (document.hidden || video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) continue;
    const start = performance.now();
    const scores = await classifier.classify(video, { signal });
    if (!signal.aborted) onScores(scores, performance.now() - start);
  }
}

/** Waits for a new frame of the video; where the browser does not tell, for the next one of the screen. */
function nextFrame(video: HTMLVideoElement, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    signal.addEventListener("abort", () => resolve(), { once: true });
    if (typeof video.requestVideoFrameCallback === "function")
      video.requestVideoFrameCallback(() => resolve());
    else requestAnimationFrame(() => resolve());
  });
}
