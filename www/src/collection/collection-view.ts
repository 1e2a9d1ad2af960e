import type { CoCa } from "coca-wasm";
import { announce, byId } from "../dom";
import { examplePictures } from "../picture/examples";
import { isAborted, isFatal, messageOf } from "../engine/problem";
import { figure, seconds } from "../format";
import { readPicture } from "../picture/picture";
import type { PictureSink } from "../picture/image-input";
import type { Address } from "../shell/address";
import type { App } from "../tasks/task";
import { Collection, type Added, type Item, type Progress } from "./collection";
import { Tiles } from "./tiles";
import { sentence } from "../sentence";

type Source = { file: Blob; name: string };

/** The third room: a folder of pictures, found by words or by another picture. */
export class CollectionView {
  readonly #app: App;
  readonly #sink: PictureSink;
  readonly #tiles: Tiles;
  readonly #seek = byId("seek", HTMLInputElement);
  readonly #status = byId("collection-status", HTMLParagraphElement);
  readonly #all = byId("collection-all", HTMLButtonElement);
  #collection: Collection | undefined;
  #adding: AbortController | undefined;
  #searching: AbortController | undefined;
  /** What was brought while there was no model yet. */
  #waiting: readonly Source[] = [];
  #typed: ReturnType<typeof setTimeout> | undefined;

  constructor(app: App, address: Address, sink: PictureSink) {
    this.#app = app;
    this.#sink = sink;
    this.#tiles = new Tiles({
      open: (item) => this.#open(item),
      similar: (item) => void this.#find(item.file, `Like ${item.name}`),
      remove: (item) => this.#remove(item),
    });
    address.keep("q", this.#seek);
    this.#wire();
    app.engine.state.watch(({ phase }) => {
      if (phase === "ready") void this.#modelCame();
      else this.#adding?.abort();
    });
  }

  /** Adds files to the collection, as soon as there is a model. */
  collect(sources: readonly Source[]): void {
    if (sources.length === 0) return;
    void this.#add(sources);
  }

  #wire(): void {
    for (const id of ["collection-folder", "collection-files"]) {
      const input = byId(id, HTMLInputElement);
      input.addEventListener("change", () => {
        this.collect([...(input.files ?? [])].map((file) => ({ file, name: file.name })));
        input.value = "";
      });
    }
    byId("collection-examples", HTMLButtonElement).addEventListener("click", async () => {
      try {
        this.collect(await examplePictures());
      } catch (error) {
        this.#problem(messageOf(error));
      }
    });
    byId("collection-stop", HTMLButtonElement).addEventListener("click", () => this.#adding?.abort());
    byId("collection-empty", HTMLButtonElement).addEventListener("click", () => this.#empty());
    this.#all.addEventListener("click", () => this.#showAll());
    byId("seek-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      clearTimeout(this.#typed);
      this.#findTyped();
    });
    this.#seek.addEventListener("input", () => {
      clearTimeout(this.#typed);
      this.#typed = setTimeout(() => this.#findTyped(), 400);
    });
    const example = byId("seek-file", HTMLInputElement);
    example.addEventListener("change", async () => {
      const [file] = example.files ?? [];
      example.value = "";
      if (!file) return;
      try {
        const picture = await readPicture(file, file.name, "");
        URL.revokeObjectURL(picture.url);
        await this.#find(picture.blob, `Like ${file.name}`);
      } catch (error) {
        this.#problem(messageOf(error));
      }
    });
  }

  /** Another model sees other things: its own index is filled from the same pictures. */
  async #modelCame(): Promise<void> {
    const { model } = this.#app.engine;
    if (model === undefined) return;
    // Older packages have no index.
    byId("tab-search", HTMLButtonElement).hidden = typeof model.imageIndex !== "function";
    const before = this.#collection;
    if (before?.model === model) return;
    const sources = [...(before?.items.map(({ file, name }) => ({ file, name })) ?? []), ...this.#waiting];
    before?.release();
    this.#collection = undefined;
    this.#waiting = [];
    this.#tiles.showAll([]);
    if (sources.length > 0) await this.#add(sources);
    else this.#refresh();
  }

  async #add(sources: readonly Source[]): Promise<void> {
    const { model } = this.#app.engine;
    this.#problem(undefined);
    if (model === undefined) {
      this.#waiting = [...this.#waiting, ...sources];
      this.#status.textContent = "The pictures wait for the model.";
      return this.#refresh();
    }
    // One after the other: what is dropped while others are looked at comes after them.
    if (this.#adding) {
      this.#waiting = [...this.#waiting, ...sources];
      return;
    }
    const collection = (this.#collection ??= new Collection(model));
    const { signal } = (this.#adding = new AbortController());
    this.#progress({ done: 0, total: sources.length, perSecond: 0 });
    this.#refresh();
    try {
      const added = await collection.add(sources, signal, (item, progress) => {
        if (item) this.#tiles.add(item);
        this.#progress(progress);
      });
      this.#tell(added, model);
    } catch (error) {
      if (isFatal(error)) {
        this.#waiting = [...sources.slice(collection.items.length), ...this.#waiting];
        this.#app.engine.lose(model, error);
      } else this.#problem(messageOf(error));
    } finally {
      this.#adding = undefined;
      this.#progress(undefined);
      this.#refresh();
    }
    const more = this.#waiting;
    if (more.length > 0 && this.#app.engine.model === model) {
      this.#waiting = [];
      await this.#add(more);
    } else if (!signal.aborted) this.#findTyped();
  }

  #tell({ added, refused, left, perSecond }: Added, model: CoCa): void {
    if (added > 1) this.#app.measurements.note(model.info, { imagesPerSecond: perSecond });
    const problems = [];
    if (refused.length > 0) {
      const names = refused.slice(0, 3).join(", ") + (refused.length > 3 ? ", …" : "");
      problems.push(
        `${refused.length === 1 ? "One file is" : `${refused.length} files are`} not among them: ${names}. They are no pictures that this browser can read.`,
      );
    }
    if (left > 0) problems.push(`${left} more did not fit: the collection takes 2,000 pictures.`);
    this.#problem(problems.length > 0 ? problems.join(" ") : undefined);
    if (added > 0) this.#app.record({ search: { query: this.#seek.value.trim() } });
    announce(`${added} pictures were added to the collection.`);
  }

  #findTyped(): void {
    const query = this.#seek.value.trim();
    if (query === "") this.#showAll();
    else void this.#find(query, `“${query}”`);
  }

  async #find(query: string | Blob, name: string): Promise<void> {
    const collection = this.#collection;
    if (collection === undefined || collection.items.length === 0) return;
    this.#searching?.abort();
    const { signal } = (this.#searching = new AbortController());
    try {
      const start = performance.now();
      const hits = await collection.search(query, signal);
      if (signal.aborted) return;
      const ms = Math.round(performance.now() - start);
      this.#tiles.showHits(hits);
      this.#status.textContent = `${name}: the best ${hits.length} of ${collection.items.length}, in ${ms} ms`;
      this.#all.hidden = false;
      this.#app.record({ search: { query: typeof query === "string" ? query : undefined } });
      const [best] = hits;
      if (best) announce(`${name}. Best: ${best.item.name}, ${best.score.toFixed(2)}.`);
    } catch (error) {
      if (isFatal(error)) this.#app.engine.lose(collection.model, error);
      else if (!isAborted(error)) this.#problem(messageOf(error));
    }
  }

  #showAll(): void {
    this.#searching?.abort();
    this.#seek.value = "";
    this.#tiles.showAll(this.#collection?.items ?? []);
    this.#refresh();
  }

  #open(item: Item): void {
    this.#app.open.set("picture");
    this.#sink.offer(() => readPicture(item.file, item.name, "input.files[0]"));
    scrollTo({ top: 0 });
    byId("tab-picture", HTMLButtonElement).focus({ preventScroll: true });
  }

  #remove(item: Item): void {
    this.#collection?.remove(item.id);
    announce(`${item.name} was removed.`);
    if (this.#seek.value.trim() === "") this.#showAll();
    else this.#findTyped();
    this.#refresh();
    this.#seek.focus();
  }

  #empty(): void {
    this.#adding?.abort();
    this.#waiting = [];
    this.#collection?.release();
    this.#collection = undefined;
    this.#problem(undefined);
    this.#showAll();
    announce("The collection is empty.");
    byId("collection-folder", HTMLInputElement).focus();
  }

  #refresh(): void {
    const count = this.#collection?.items.length ?? 0;
    const filled = count > 0 || this.#adding !== undefined || this.#waiting.length > 0;
    byId("collection-filled", HTMLDivElement).hidden = !filled;
    byId("bring", HTMLDivElement).classList.toggle("small", filled);
    this.#all.hidden = true;
    if (count > 0)
      this.#status.textContent = `${count} ${count === 1 ? "picture" : "pictures"}. Write what one of them shows.`;
  }

  #progress(progress: Progress | undefined): void {
    byId("collection-progress", HTMLDivElement).hidden = progress === undefined;
    if (progress === undefined) return;
    const { done, total, perSecond } = progress;
    const bar = byId("collection-bar", HTMLProgressElement);
    bar.max = total;
    bar.value = done;
    const parts = [`${done} of ${total} looked at`];
    if (done > 2 && perSecond > 0) {
      parts.push(`${figure(perSecond)} images/s`);
      if (done < total) parts.push(`${seconds((total - done) / perSecond)} left`);
    }
    byId("collection-progress-text", HTMLParagraphElement).textContent = parts.join(" · ");
    this.#status.textContent = "";
  }

  #problem(text: string | undefined): void {
    const problem = byId("collection-problem", HTMLParagraphElement);
    problem.hidden = text === undefined;
    problem.textContent = text === undefined ? "" : sentence(text);
  }
}
