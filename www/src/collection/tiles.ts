import { byId, make } from "../dom";
import type { Hit, Item } from "./collection";

/** What a visitor can do with one picture of the collection. */
export interface TileActions {
  open(item: Item): void;
  similar(item: Item): void;
  remove(item: Item): void;
}

/** The pictures of the collection as a grid: all of them, or those that were found with their scores. */
export class Tiles {
  readonly #list = byId("tiles", HTMLUListElement);
  readonly #actions: TileActions;

  constructor(actions: TileActions) {
    this.#actions = actions;
  }

  /** Adds one at the end. */
  add(item: Item): void {
    this.#list.append(this.#tile(item));
  }

  showAll(items: readonly Item[]): void {
    this.#list.classList.remove("found");
    this.#list.replaceChildren(...items.map((item) => this.#tile(item)));
  }

  showHits(hits: readonly Hit[]): void {
    const best = Math.max(1e-6, hits[0]?.score ?? 0);
    this.#list.classList.add("found");
    this.#list.replaceChildren(
      ...hits.map(({ item, score }) => this.#tile(item, { score, share: Math.max(0, score) / best })),
    );
  }

  #tile(item: Item, found?: { score: number; share: number }): HTMLLIElement {
    const open = make("button", {
      type: "button",
      className: "tile-open",
      title: `${item.name}: open it and ask about it`,
    });
    open.append(make("img", { src: item.thumbnail, alt: item.name, loading: "lazy", decoding: "async" }));
    open.addEventListener("click", () => this.#actions.open(item));
    const similar = this.#small("Similar", `Similar to ${item.name}`, () => this.#actions.similar(item));
    const remove = this.#small("Remove", `Remove ${item.name}`, () => this.#actions.remove(item));
    const tile = make(
      "li",
      { className: "tile" },
      open,
      make("span", { className: "tile-name", title: item.name }, item.name),
      make("span", { className: "tile-actions" }, similar, remove),
    );
    if (found) {
      const bar = make("span", { className: "bar", ariaHidden: "true" });
      bar.style.setProperty("--score", String(found.share));
      const score = found.score.toFixed(2).replace("-", "\u2212");
      open.after(bar, make("span", { className: "tile-score", title: "cosine similarity" }, score));
    }
    return tile;
  }

  #small(text: string, name: string, act: () => void): HTMLButtonElement {
    const button = make("button", { type: "button", className: "link", ariaLabel: name }, text);
    button.addEventListener("click", act);
    return button;
  }
}
