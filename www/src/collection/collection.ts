import type { CoCa } from "coca-wasm";
import { isAborted, isFatal } from "../engine/problem";
import { looksLikePicture, maxFiles } from "./dropped-files";
import { thumbnail } from "./thumbnail";

/** A picture of the collection. */
export interface Item {
  readonly id: string;
  readonly file: Blob;
  readonly name: string;
  /** Object URL of the small copy. */
  readonly thumbnail: string;
}

/** How far adding is. */
export interface Progress {
  readonly done: number;
  readonly total: number;
  readonly perSecond: number;
}

/** What came of adding. */
export interface Added {
  readonly added: number;
  /** Names of files that could not be used. */
  readonly refused: readonly string[];
  /** Files beyond what the collection takes. */
  readonly left: number;
  readonly perSecond: number;
}

/** A picture that was found. */
export interface Hit {
  readonly item: Item;
  /** Cosine between the query and the picture. */
  readonly score: number;
}

/** The visitor's pictures, and the index in which the model finds them. Lives as long as the page. */
export class Collection {
  readonly #items = new Map<string, Item>();
  readonly #index: ReturnType<CoCa["imageIndex"]>;
  #next = 0;

  constructor(readonly model: CoCa) {
    this.#index = model.imageIndex();
  }

  get items(): readonly Item[] {
    return [...this.#items.values()];
  }

  /** Looks at each picture once. What is no picture is left out; an abort keeps what is done. */
  async add(
    files: readonly { file: Blob; name: string }[],
    signal: AbortSignal,
    onProgress: (item: Item | undefined, progress: Progress) => void,
  ): Promise<Added> {
    const room = Math.max(0, maxFiles - this.#items.size);
    const taken = files.slice(0, room);
    const refused: string[] = [];
    const start = performance.now();
    let added = 0;
    const perSecond = (): number => (1000 * added) / Math.max(1, performance.now() - start);
    for (const [at, { file, name }] of taken.entries()) {
      let item: Item | undefined;
      try {
        if (file instanceof File && !looksLikePicture(file)) throw new Error(`${name} is not a picture`);
        item = await this.#addOne(file, name, signal);
        added += 1;
      } catch (error) {
        if (isAborted(error)) break;
        if (isFatal(error)) throw error;
        refused.push(name);
      }
      onProgress(item, { done: at + 1, total: taken.length, perSecond: perSecond() });
    }
    return { added, refused, left: files.length - taken.length, perSecond: perSecond() };
  }

  /** The pictures that fit best, the best first. */
  async search(query: string | Blob, signal: AbortSignal, topK = 24): Promise<Hit[]> {
    const options = { topK, signal };
    const hits = await (typeof query === "string"
      ? this.#index.search(query, options)
      : this.#index.search(query, options));
    return hits.flatMap(({ id, score }) => {
      const item = this.#items.get(String(id));
      return item === undefined ? [] : [{ item, score }];
    });
  }

  remove(id: string): void {
    const item = this.#items.get(id);
    if (item === undefined) return;
    this.#index.remove(id);
    this.#items.delete(id);
    URL.revokeObjectURL(item.thumbnail);
  }

  /** Frees the small copies. */
  release(): void {
    for (const { thumbnail: url } of this.#items.values()) URL.revokeObjectURL(url);
    this.#items.clear();
  }

  async #addOne(file: Blob, name: string, signal: AbortSignal): Promise<Item> {
    const id = String(this.#next++);
    // The small copy is made while the model looks.
    const [small] = await Promise.all([thumbnail(file), this.#index.add(file, { id, signal })]).catch(
      (error: unknown) => {
        this.#index.remove(id);
        throw error;
      },
    );
    const item = { id, file, name, thumbnail: URL.createObjectURL(small) };
    this.#items.set(id, item);
    return item;
  }
}
