import type { Explanation } from "coca-wasm";
import { make } from "../dom";
import { heatInWords } from "../picture/heat";
import { HeatMap } from "../picture/heat-map";
import type { Picture } from "../picture/picture";

/**
 * A caption whose words show where they look: over the big picture, and over a small copy beside the words where the
 * big one is out of sight. One word can be reached with Tab, the others from there with the arrow keys; a click keeps
 * the heat until the next one.
 */
export function explainedWords(explanation: Explanation, picture: Picture, frame: HeatMap): HTMLElement[] {
  const hint = matchMedia("(hover: none)").matches
    ? "Tap a word to see where it looks."
    : "Point at a word, or go through them with the arrow keys, to see where it looks.";
  const where = make("p", { className: "look-text" }, hint);
  const copy = make("img", { src: picture.url, alt: "", className: "look-picture" });
  const canvas = make("canvas", { className: "heat", ariaHidden: "true", hidden: true });
  const maps = [frame, new HeatMap(copy, canvas)];
  const texts = explanation.words.map(({ heat }) => heatInWords(heat, explanation));

  let kept: number | undefined;
  const show = (index: number | undefined): void => {
    const word = index === undefined ? undefined : explanation.words[index];
    for (const [at, button] of buttons.entries()) button.classList.toggle("looking", at === index);
    for (const map of maps) {
      if (word === undefined) map.hide();
      else map.show(explanation, word.heat);
    }
    where.textContent =
      word === undefined ? hint : `“${word.text.trim()}” looks ${texts[index as number] ?? ""}.`;
  };
  const keep = (index: number | undefined): void => {
    kept = index;
    for (const [at, button] of buttons.entries()) button.ariaPressed = String(at === index);
    show(index);
  };

  const buttons = explanation.words.map(({ text }, index) => {
    const button = make("button", { type: "button", className: "word", ariaPressed: "false" }, text.trim());
    // A property of its own in no browser's types yet.
    button.setAttribute("aria-description", `looks ${texts[index] ?? ""}`);
    button.tabIndex = index === 0 ? 0 : -1;
    button.addEventListener("pointerenter", ({ pointerType }) => pointerType === "mouse" && show(index));
    button.addEventListener("pointerleave", ({ pointerType }) => pointerType === "mouse" && show(kept));
    button.addEventListener("focus", () => show(index));
    button.addEventListener("blur", () => show(kept));
    button.addEventListener("click", () => keep(kept === index ? undefined : index));
    button.addEventListener("keydown", (event) => {
      const to = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: -1 }[event.key];
      if (event.key === "Escape") keep(undefined);
      if (to === undefined) return;
      event.preventDefault();
      button.tabIndex = -1;
      const next = buttons.at(to % buttons.length);
      if (next) next.tabIndex = 0;
      next?.focus();
    });
    return button;
  });

  const group = make("p", {
    className: "written words",
    role: "group",
    ariaLabel: `Caption: ${explanation.text}`,
  });
  for (const [index, button] of buttons.entries()) {
    // Punctuation comes without a space of its own.
    if (index > 0 && explanation.words[index]?.text.startsWith(" ")) group.append(" ");
    group.append(button);
  }
  return [group, make("div", { className: "look" }, copy, canvas), where];
}
