import { announce, byId } from "../dom";
import type { Engine } from "../engine/engine";
import type { Picture } from "../picture/picture";
import { snippet, type Actions } from "./snippet";
import type { View } from "./url-state";
import type { Store } from "../store";

/** Keeps the code on the page the same as what the page does, and wires the copy button. */
export function showSnippet(
  engine: Engine,
  picture: Store<Picture | undefined>,
  open: Store<View>,
): { record(actions: Actions): void; forget(): void } {
  const code = byId("snippet", HTMLElement);
  const button = byId("copy", HTMLButtonElement);
  let actions: Actions = {};

  const refresh = (): void => {
    const { model, device } = engine.wanted;
    const image = picture.get()?.code ?? "input.files[0]";
    code.textContent = snippet(
      { ...(model === undefined ? {} : { model }), device, view: open.get(), image },
      actions,
    );
  };
  engine.state.watch(refresh);
  picture.watch(refresh);
  open.watch(refresh);

  copies(button, () => code.textContent ?? "", code);
  copies(byId("share", HTMLButtonElement), () => location.href);

  return {
    record(done) {
      actions = { ...actions, ...done };
      refresh();
    },
    forget() {
      actions = {};
      refresh();
    },
  };
}

/** A button that copies a text and says so. */
function copies(button: HTMLButtonElement, text: () => string, shown?: HTMLElement): void {
  const name = button.textContent ?? "";
  const say = (word: string): void => {
    button.textContent = word;
    announce(word);
    setTimeout(() => (button.textContent = name), 2000);
  };
  button.addEventListener("click", () => {
    // Not everywhere may a page write to the clipboard, or is there one at all.
    const clipboard: Clipboard | undefined = navigator.clipboard;
    (clipboard?.writeText(text()) ?? Promise.reject()).then(
      () => say("Copied"),
      () => {
        // What is selected can be copied by hand.
        if (shown) getSelection()?.selectAllChildren(shown);
        say(shown ? "Press Ctrl+C" : "Copy the address above");
      },
    );
  });
}
