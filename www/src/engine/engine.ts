import { CoCa, type CocaError, type LoadOptions, type LoadProgress } from "coca-wasm";
import { keepsModel } from "../shell/offline";
import type { Device } from "../shell/url-state";
import { Store } from "../store";
import { isAborted, isDeviceLost, modelProblem, unsupportedProblem, type Problem } from "./problem";
import { Rate } from "./rate";

/** Which model the visitor wants, and where it should run. */
export interface Wanted {
  /** Address of a model folder, or `hf:owner/name`. */
  model?: string;
  /** The files of a model folder of this device, in place of an address. */
  files?: readonly File[];
  device: Device;
}

/** Where the model is in its life. */
export type EngineState =
  | { phase: "checking" }
  /** A link asks for a model from elsewhere: nothing is downloaded before the visitor agrees. */
  | { phase: "asking"; address: string }
  | { phase: "loading"; progress: LoadProgress | undefined; rate: Rate }
  | { phase: "ready"; model: CoCa; fromCache: boolean }
  /** The device went away and the package is setting up another one. */
  | { phase: "recovering"; model: CoCa; fromCache: boolean; message: string }
  | { phase: "problem"; problem: Problem };

/** Loads the model, replaces it, and notices when it is gone. At most one model is alive. */
export class Engine {
  readonly state = new Store<EngineState>({ phase: "checking" });
  #wanted: Wanted;
  #loading: AbortController | undefined;

  constructor(wanted: Wanted) {
    this.#wanted = wanted;
  }

  /** What was last asked for, loaded or not. */
  get wanted(): Wanted {
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
    const { model } = this.#wanted;
    if (!support.webgpu && !support.cpu) {
      this.state.set({ phase: "problem", problem: unsupportedProblem(support.reason) });
    } else if (model !== undefined && new URL(model).origin !== location.origin) {
      this.state.set({ phase: "asking", address: model });
    } else {
      await this.load(this.#wanted);
    }
  }

  /** Loads a model in place of the present one; a later call overtakes an earlier one. */
  async load(wanted: Wanted): Promise<void> {
    this.#wanted = wanted;
    this.#loading?.abort();
    const { signal } = (this.#loading = new AbortController());
    const state = this.state.get();
    const previous = state.phase === "ready" || state.phase === "recovering" ? state.model : undefined;
    const rate = new Rate();
    let fromCache = true;
    this.state.set({ phase: "loading", progress: undefined, rate });
    try {
      await previous?.dispose();
      // What the service worker hands over looks like a download to the package.
      const kept = isOwn(wanted) && (await keepsModel().catch(() => false));
      const model: CoCa = await CoCa.load(wanted.files ?? wanted.model, {
        device: wanted.device,
        signal,
        ...caching(wanted),
        onProgress: (progress) => {
          if (signal.aborted) return;
          const local = kept || Boolean(progress.fromCache);
          if (progress.phase === "download") {
            fromCache &&= local;
            rate.add(progress.file ?? "", progress.loaded, performance.now());
          }
          this.state.set({ phase: "loading", progress: { ...progress, fromCache: local }, rate });
        },
        onRecover: (error) => void this.#recover(error),
      });
      if (signal.aborted) await model.dispose();
      else this.state.set({ phase: "ready", model, fromCache: fromCache && wanted.files === undefined });
    } catch (error) {
      if (!signal.aborted && !isAborted(error)) this.#fail(error);
    }
  }

  /** Takes the model out of use after a call failed in a way that it does not survive. */
  lose(model: CoCa, error: unknown): void {
    const state = this.state.get();
    if ((state.phase !== "ready" && state.phase !== "recovering") || state.model !== model) return;
    // Calls that were waiting when the device went away say so too; the package is already setting up another one.
    if (state.phase === "recovering" && isDeviceLost(error)) return;
    this.#fail(error);
    // The worker behind it may be gone already; either way there is nothing more to free.
    model.dispose().catch(() => undefined);
  }

  /** The first answer after a loss tells that the device is back. */
  async #recover(error: CocaError): Promise<void> {
    const state = this.state.get();
    if (state.phase !== "ready") return;
    const { model, fromCache } = state;
    this.state.set({ phase: "recovering", model, fromCache, message: error.message });
    try {
      await model.embedText(["a"]);
      const now = this.state.get();
      if (now.phase === "recovering" && now.model === model)
        this.state.set({ phase: "ready", model, fromCache });
    } catch (later) {
      const now = this.state.get();
      if (now.phase === "recovering" && now.model === model) {
        this.#fail(later);
        model.dispose().catch(() => undefined);
      }
    }
  }

  #fail(error: unknown): void {
    this.state.set({ phase: "problem", problem: modelProblem(error, this.#wanted.model !== undefined) });
  }
}

/** Whether it is the small model that ships with the page. */
export function isOwn(wanted: Wanted): boolean {
  return wanted.model === undefined && wanted.files === undefined;
}

/** The page's own model is kept by its service worker, with the rest of the page; a second copy would be waste. */
function caching(wanted: Wanted): Pick<LoadOptions, "cache"> {
  return isOwn(wanted) && "serviceWorker" in navigator ? { cache: false } : {};
}
