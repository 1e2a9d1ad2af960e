import type { GenerationTimings } from "coca-wasm";
import { make } from "../dom";
import { duration, figure } from "../format";

/** Text that appears as the model writes it. */
export class Writing {
  readonly element = make("p", { className: "written writing" });

  /** Adds a piece; the first one begins without a space. */
  readonly add = (piece: string): void => {
    const text = this.element.childNodes.length === 0 ? piece.trimStart() : piece;
    if (text !== "") this.element.append(make("span", {}, text));
  };

  /** Puts the finished text in place of the pieces, which may differ in white space. */
  finish(text: string): void {
    if (this.element.textContent?.trim() !== text) this.element.textContent = text;
    this.stop();
  }

  /** Nothing more will come. */
  stop(): void {
    this.element.classList.remove("writing");
  }
}

/** How fast the text came and how sure the model was of all of it. */
export function writingNotes(timings: GenerationTimings, logProb: number): string[] {
  const parts = [`first token ${duration(timings.firstTokenMs)}`];
  if (Number.isFinite(timings.tokensPerSecond) && timings.tokensPerSecond > 0) {
    parts.push(`${figure(timings.tokensPerSecond)} tokens/s`);
  }
  parts.push(`log p ${logProb.toFixed(2).replace("-", "\u2212")}`);
  return parts;
}
