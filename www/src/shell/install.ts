import { byId } from "../dom";

/** What Chromium offers a page that can be installed; in no standard yet. */
interface InstallPrompt extends Event {
  prompt(): Promise<unknown>;
}

/** Shows a button where the browser would install the page as an app. */
export function watchInstall(): void {
  const button = byId("install", HTMLButtonElement);
  let prompt: InstallPrompt | undefined;
  addEventListener("beforeinstallprompt", (event) => {
    event.preventDefault();
    prompt = event as InstallPrompt;
    button.hidden = false;
  });
  addEventListener("appinstalled", () => (button.hidden = true));
  button.addEventListener("click", () => {
    button.hidden = true;
    void prompt?.prompt();
  });
}
