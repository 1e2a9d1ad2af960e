import type { CoCa } from "coca-wasm";
import { announce, byId, make } from "../dom";
import type { Engine } from "../engine/engine";
import type { Measurements } from "../engine/measurements";
import { isAborted, isFatal, messageOf } from "../engine/problem";
import type { HeatMap } from "../picture/heat-map";
import type { Picture } from "../picture/picture";
import type { Actions } from "../shell/snippet";
import type { View } from "../shell/url-state";
import type { Store } from "../store";
import { sentence } from "../sentence";

/** What all tasks share. */
export interface App {
  readonly engine: Engine;
  readonly picture: Store<Picture | undefined>;
  /** The open room. */
  readonly open: Store<View>;
  /** Over the shown picture. */
  readonly heat: HeatMap;
  readonly measurements: Measurements;
  /** Remembers what was asked, for the code snippet. */
  record(actions: Actions): void;
}

/** One question to the model, on its way. */
export interface Job {
  readonly model: CoCa;
  readonly image: Blob;
  readonly signal: AbortSignal;
  /** Whether the page asks by itself, because there is a new picture. */
  readonly unasked: boolean;
  /** Replaces the result area. */
  show(...content: Node[]): void;
}

/** Input that the model need not see to be refused; the message is for the visitor. */
export class InputError extends Error {
  override readonly name = "InputError";
}

/** One of the three columns: its buttons, its result area, and at most one running job. */
export class Task {
  readonly #app: App;
  readonly #work: (job: Job) => Promise<string>;
  readonly #run: HTMLButtonElement;
  readonly #stop: HTMLButtonElement;
  readonly #result: HTMLDivElement;
  readonly #placeholder: Node[];
  #running: AbortController | undefined;

  /** @param work asks the model, shows the result, and gives what to tell a screen reader, if anything */
  constructor(id: string, app: App, work: (job: Job) => Promise<string>) {
    this.#app = app;
    this.#work = work;
    this.#run = byId(`${id}-run`, HTMLButtonElement);
    this.#stop = byId(`${id}-stop`, HTMLButtonElement);
    this.#result = byId(`${id}-result`, HTMLDivElement);
    this.#placeholder = [...this.#result.childNodes];
    byId(`${id}-form`, HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      void this.run();
    });
    this.#stop.addEventListener("click", () => {
      this.stop();
      this.#run.focus();
    });
    const refresh = (): void => this.#refresh();
    app.engine.state.watch(refresh);
    app.picture.watch(refresh);
  }

  /** Asks now, in place of what is running; without a model or a picture nothing happens. */
  async run({ unasked = false } = {}): Promise<void> {
    this.stop();
    const { model } = this.#app.engine;
    const picture = this.#app.picture.get();
    if (model === undefined || picture === undefined) return;
    const { signal } = (this.#running = new AbortController());
    const show = (...content: Node[]): void => {
      if (!signal.aborted) this.#result.replaceChildren(...content);
    };
    this.#busy(true);
    try {
      const news = await this.#work({ model, image: picture.blob, signal, unasked, show });
      if (news !== "") announce(news);
    } catch (error) {
      if (isFatal(error)) {
        // Told once, for the whole page.
        this.#app.engine.lose(model, error);
      } else if (!isAborted(error)) {
        show(make("p", { className: "problem" }, sentence(messageOf(error))));
        announce(sentence(messageOf(error)));
      }
    } finally {
      // A later run has its own buttons to care for.
      if (this.#running?.signal === signal) this.#busy(false);
    }
  }

  /** Stops what is running; what has already been written stays. */
  stop(): void {
    this.#running?.abort();
    this.#busy(false);
    if (this.#result.textContent?.trim() === "") this.#result.replaceChildren(...this.#placeholder);
  }

  /** Back to how the page began. */
  clear(): void {
    this.stop();
    this.#result.replaceChildren(...this.#placeholder);
  }

  #busy(on: boolean): void {
    if (!on) this.#running = undefined;
    this.#result.ariaBusy = String(on);
    this.#result.classList.toggle("busy", on);
    this.#stop.hidden = !on;
    this.#refresh();
  }

  /** A button that cannot do anything yet says why. */
  #refresh(): void {
    const ready = this.#app.engine.model !== undefined;
    const pictured = this.#app.picture.get() !== undefined;
    this.#run.disabled = !(ready && pictured);
    this.#run.title = ready ? (pictured ? "" : "Choose a picture first") : "The model is not ready yet";
  }
}

/** The small print under a result. */
export function notes(...parts: string[]): HTMLParagraphElement {
  return make("p", { className: "notes" }, parts.join(" · "));
}
