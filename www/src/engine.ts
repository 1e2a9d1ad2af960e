import { CoCa, type LoadProgress } from "coca-wasm";
import { isAborted, modelProblem, unsupportedProblem, type Problem } from "./problem";
import { Store } from "./store";
import type { UrlState } from "./url-state";

/** Where the model is in its life. */
export type EngineState =
  | { phase: "checking" }
  /** A link asks for a model from elsewhere: nothing is downloaded before the visitor agrees. */
  | { phase: "asking"; address: string }
  | { phase: "loading"; progress: LoadProgress | undefined }
  | { phase: "ready"; model: CoCa }
  | { phase: "problem"; problem: Problem };

/** Loads the model, replaces it, and notices when it is gone. At most one model is alive. */
export class Engine {
  readonly state = new Store<EngineState>({ phase: "checking" });
  #wanted: UrlState;
  #loading: AbortController | undefined;

  constructor(wanted: UrlState) {
    this.#wanted = wanted;
  }

  /** What was last asked for, loaded or not. */
  get wanted(): UrlState {
    return this.#wanted;
  }

  /** The model, when it can be asked something. */
  get model(): CoCa | undefined {
    const state = this.state.get();
    return state.phase === "ready" ? state.model : undefined;
  }

  /** Finds out whether this browser can run a model at all, then loads the page's own, or asks about a linked one. */
  async start(): Promise<void> {
    const support = await CoCa.isSupported();
    if (!support.webgpu && !support.cpu) {
      this.state.set({ phase: "problem", problem: unsupportedProblem(support.reason) });
    } else if (this.#wanted.model !== undefined && new URL(this.#wanted.model).origin !== location.origin) {
      this.state.set({ phase: "asking", address: this.#wanted.model });
    } else {
      await this.load(this.#wanted);
    }
  }

  /** Loads a model in place of the present one; a later call overtakes an earlier one. */
  async load(wanted: UrlState): Promise<void> {
    this.#wanted = wanted;
    this.#loading?.abort();
    const { signal } = (this.#loading = new AbortController());
    const previous = this.model;
    this.state.set({ phase: "loading", progress: undefined });
    try {
      await previous?.dispose();
      const model = await CoCa.load(wanted.model, {
        device: wanted.device,
        signal,
        onProgress: (progress) => {
          if (!signal.aborted) this.state.set({ phase: "loading", progress });
        },
      });
      if (signal.aborted) await model.dispose();
      else this.state.set({ phase: "ready", model });
    } catch (error) {
      if (!signal.aborted && !isAborted(error)) this.#fail(error);
    }
  }

  /** Takes the model out of use after a call failed in a way that it does not survive. */
  lose(model: CoCa, error: unknown): void {
    if (this.model !== model) return;
    this.#fail(error);
    // The worker behind it may be gone already; either way there is nothing more to free.
    model.dispose().catch(() => undefined);
  }

  #fail(error: unknown): void {
    this.state.set({ phase: "problem", problem: modelProblem(error, this.#wanted.model !== undefined) });
  }
}
