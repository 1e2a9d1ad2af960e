import { text, whole } from "./arguments.js";
import { dot } from "./dot.js";
import { CocaError } from "./error.js";
import { readIndex, writeIndex } from "./index-file.js";
import type { AddOptions, CallOptions, ImageId, ImageInput, ModelInfo, SearchHit, SearchOptions } from "./types.js";

/** What an index needs of its model. */
export interface IndexOwner {
  info(): ModelInfo;
  embedImage(image: ImageInput, options: CallOptions): Promise<Float32Array>;
  embedText(query: string, options: CallOptions): Promise<Float32Array>;
}

/** Images by their embeddings, to be searched by text or by image. Made by `CoCa.imageIndex`. */
export class ImageIndex {
  readonly #owner: IndexOwner;
  readonly #embeddings: Map<ImageId, Float32Array>;

  /** @internal */
  constructor(owner: IndexOwner, exported: Uint8Array | undefined) {
    this.#owner = owner;
    this.#embeddings = exported === undefined ? new Map() : readIndex(exported, owner.info());
  }

  /** How many images there are. */
  get size(): number {
    return this.#embeddings.size;
  }

  /** What the images are called, in the order in which they were added. */
  ids(): ImageId[] {
    return [...this.#embeddings.keys()];
  }

  /** Embeds an image and keeps it; gives what it is called. */
  async add(image: ImageInput, options: AddOptions = {}): Promise<ImageId> {
    const { id, ...rest } = options;
    if (id !== undefined && typeof id !== "string" && !Number.isFinite(id)) {
      throw new CocaError("invalid-argument", `id must be a text or a number, not ${String(id)}`);
    }
    const embedding = await this.#owner.embedImage(image, rest);
    // Only now, because others may have been added meanwhile.
    const name = id ?? this.#freeNumber();
    this.#embeddings.set(name, embedding);
    return name;
  }

  /** Forgets an image; says whether there was one of that name. */
  remove(id: ImageId): boolean {
    return this.#embeddings.delete(id);
  }

  /** The images that fit a text best, best first. */
  search(query: string, options?: SearchOptions): Promise<SearchHit[]>;
  /** The images that are most like an image. Its address must be a `URL`: a string is a text. */
  search(image: Exclude<ImageInput, string>, options?: SearchOptions): Promise<SearchHit[]>;
  async search(query: ImageInput, options: SearchOptions = {}): Promise<SearchHit[]> {
    const { topK = 10, ...rest } = options;
    whole("topK", topK, 1);
    const wanted = await (typeof query === "string"
      ? this.#owner.embedText(text("query", query), rest)
      : this.#owner.embedImage(query, rest));
    return [...this.#embeddings]
      .map(([id, embedding]) => ({ id, score: dot(wanted, embedding) }))
      .sort((a, b) => b.score - a.score)
      .slice(0, topK);
  }

  /** Everything in it as bytes, to be kept anywhere, IndexedDB for instance, and given to `CoCa.imageIndex` later. */
  export(): Uint8Array<ArrayBuffer> {
    return writeIndex(this.#embeddings, this.#owner.info());
  }

  #freeNumber(): number {
    let number = this.#embeddings.size;
    while (this.#embeddings.has(number)) number++;
    return number;
  }
}
