import { readUrl, writeUrl, type TextName, type UrlState } from "./url-state";

type Box = HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement;

/** Keeps the page's address the same as its settings, so that it can be shared and reloaded. */
export class Address {
  #state: UrlState = readUrl(location.href);
  /** Boxes that the visitor, or the link they followed, filled. */
  readonly #own = new Set<Box>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  get state(): UrlState {
    return this.#state;
  }

  /** Changes a part of the state; `undefined` takes it out. */
  change(part: { [K in keyof UrlState]?: UrlState[K] | undefined }): void {
    const next: Record<string, unknown> = { ...this.#state, ...part };
    for (const name of Object.keys(next)) if (next[name] === undefined) delete next[name];
    this.#state = next as unknown as UrlState;
    history.replaceState(null, "", writeUrl(location.href, this.#state));
  }

  /** Fills a box from the address, and the address from the box once the visitor writes into it. */
  keep(name: TextName, box: Box): void {
    const linked = this.#state.texts[name];
    if (linked !== undefined) {
      box.value = linked;
      // A select refuses what it does not offer.
      if (box.value === linked) this.#own.add(box);
    }
    box.addEventListener("input", () => {
      this.#own.add(box);
      // Browsers refuse an address that changes with every key.
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => {
        const { [name]: _, ...others } = this.#state.texts;
        this.change({ texts: box.value === "" ? others : { ...others, [name]: box.value } });
      }, 300);
    });
  }

  /** Fills a box, unless its content is the visitor's own. */
  suggest(box: Box, text: string): void {
    if (!this.#own.has(box)) box.value = text;
  }
}
