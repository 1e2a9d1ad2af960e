import { CoCa } from "coca-wasm";
import { announce, byId, make } from "../dom";
import { bytes } from "../format";
import { deleteOwn, keptSize } from "../shell/offline";
import type { Engine, Wanted } from "./engine";
import { messageOf } from "./problem";
import { sentence } from "../sentence";

interface Kept {
  name: string;
  detail: string;
  /** Its address, unless it is the page's own. */
  model?: string;
  remove(): Promise<unknown>;
}

/** Lists the models that this browser keeps, with their sizes, and deletes them on request. */
export function showKeptModels(engine: Engine, load: (wanted: Wanted) => void): void {
  const section = byId("kept", HTMLElement);
  const list = byId("kept-list", HTMLUListElement);

  async function refresh(): Promise<void> {
    const models = await kept().catch(() => []);
    section.hidden = models.length === 0;
    list.replaceChildren(...models.map(row));
  }

  function row({ name, detail, model, remove }: Kept): HTMLLIElement {
    const button = make(
      "button",
      { type: "button", className: "button small", ariaLabel: `Delete ${name}` },
      "Delete",
    );
    button.addEventListener("click", async () => {
      button.disabled = true;
      const gone = await remove().then(
        () => `${name} was deleted from this device.`,
        (error: unknown) => `${name} could not be deleted: ${sentence(messageOf(error))}`,
      );
      announce(gone);
      await refresh();
      // Its button is gone with it: the keyboard goes on at the next one.
      (list.querySelector("button") ?? byId("measure", HTMLButtonElement)).focus();
    });
    const text = make("span", { className: "kept-name" }, name, make("span", { className: "quiet" }, detail));
    const actions = make("span", { className: "row" }, button);
    if (model !== undefined) {
      const use = make(
        "button",
        { type: "button", className: "button small", ariaLabel: `Load ${name}` },
        "Load",
      );
      use.addEventListener("click", () => load({ model, device: engine.wanted.device }));
      actions.prepend(use);
    }
    return make("li", {}, text, actions);
  }

  engine.state.watch(({ phase }) => {
    if (phase === "ready" || phase === "problem") void refresh();
  });
  document.addEventListener("kept-offline", () => void refresh());
}

async function kept(): Promise<Kept[]> {
  // Older packages keep nothing.
  const cache: typeof CoCa.cache | undefined = CoCa.cache;
  const models = cache === undefined ? [] : await cache.list();
  const rows: Kept[] = models.map(({ url, bytes: size, complete }) => ({
    name: shortName(url),
    model: url,
    detail: complete ? bytes(size) : `${bytes(size)}, not complete: loading it goes on from there`,
    remove: () => cache.delete(url),
  }));
  const own = await keptSize();
  if (own > 0) rows.push({ name: "This page and its small model", detail: bytes(own), remove: deleteOwn });
  return rows;
}

/** `owner/name` on the hub, else host and folder. */
function shortName(address: string): string {
  const url = new URL(address);
  const hub = url.host === "huggingface.co" ? /^\/([^/]+\/[^/]+)/.exec(url.pathname)?.[1] : undefined;
  return hub ?? url.host + url.pathname.replace(/\/$/, "");
}
