import { announce, byId } from "./dom";
import type { Engine } from "./engine";
import type { Picture } from "./picture";
import { snippet, type Actions } from "./snippet";
import type { Store } from "./store";

/** Keeps the code on the page the same as what the page does, and wires the copy button. */
export function showSnippet(
  engine: Engine,
  picture: Store<Picture | undefined>,
): { record(actions: Actions): void; forget(): void } {
  const code = byId("snippet", HTMLElement);
  const button = byId("copy", HTMLButtonElement);
  let actions: Actions = {};

  const refresh = (): void => {
    const { model, device } = engine.wanted;
    const image = picture.get()?.code ?? "input.files[0]";
    code.textContent = snippet({ ...(model === undefined ? {} : { model }), device, image }, actions);
  };
  engine.state.watch(refresh);
  picture.watch(refresh);

  button.addEventListener("click", () => {
    navigator.clipboard.writeText(code.textContent ?? "").then(
      () => say("Copied"),
      () => {
        // Not allowed: what is selected can be copied by hand.
        getSelection()?.selectAllChildren(code);
        say("Press Ctrl+C");
      },
    );
  });

  function say(text: string): void {
    button.textContent = text;
    announce(text);
    setTimeout(() => (button.textContent = "Copy"), 2000);
  }

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
