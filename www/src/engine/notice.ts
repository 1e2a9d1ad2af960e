import { announce, byId, make } from "../dom";
import { hostOf } from "../shell/url-state";
import type { Engine, EngineState, Wanted } from "./engine";
import type { Problem } from "./problem";

/** Says what went wrong with the model, or asks before a download, and offers what can be done about it. */
export function showNotice(engine: Engine, state: EngineState, load: (wanted: Wanted) => void): void {
  const notice = byId("notice", HTMLElement);
  const { text, actions } = content(engine.wanted, state, load);
  const hadFocus = notice.contains(document.activeElement);
  notice.hidden = text === undefined;
  notice.dataset["tone"] = state.phase;
  byId("notice-title", HTMLHeadingElement).textContent = text?.title ?? "";
  byId("notice-detail", HTMLParagraphElement).textContent = text?.detail ?? "";
  byId("notice-hint", HTMLParagraphElement).textContent = text?.hint ?? "";
  byId("notice-actions", HTMLDivElement).replaceChildren(
    ...actions.map(([name, act], index) => {
      const button = make(
        "button",
        { type: "button", className: index === 0 ? "button primary" : "button" },
        name,
      );
      button.addEventListener("click", act);
      return button;
    }),
  );
  if (text !== undefined) {
    announce(`${text.title}. ${text.detail} ${text.hint}`);
    notice.scrollIntoView({ block: "nearest" });
  }
  // Its button is gone: the keyboard goes on where the state is told.
  else if (hadFocus) byId("badge", HTMLAnchorElement).focus();
}

interface Content {
  text: Pick<Problem, "title" | "detail" | "hint"> | undefined;
  actions: [name: string, act: () => void][];
}

function content(wanted: Wanted, state: EngineState, load: (wanted: Wanted) => void): Content {
  const small = (): void => load({ device: wanted.device });
  if (state.phase === "asking") {
    return {
      text: {
        title: "This link brings its own model",
        detail: `It would be downloaded from ${hostOf(state.address)}: ${state.address}`,
        hint: "Large models are hundreds of megabytes. Your pictures stay here either way.",
      },
      actions: [
        ["Load that model", () => load(wanted)],
        ["Use the small one instead", small],
      ],
    };
  }
  if (state.phase !== "problem") return { text: undefined, actions: [] };
  const { problem } = state;
  const actions: Content["actions"] = [];
  if (problem.retry) actions.push(["Try again", () => load(wanted)]);
  if (problem.tryCpu && wanted.device !== "cpu")
    actions.push(["Use the CPU", () => load({ ...wanted, device: "cpu" })]);
  if (problem.trySmall) actions.push(["Use the small model", small]);
  return { text: problem, actions };
}
