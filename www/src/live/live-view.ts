import type { CoCa } from "coca-wasm";
import { announce, byId } from "../dom";
import { isAborted, isFatal, messageOf } from "../engine/problem";
import { duration, figure } from "../format";
import { parseList } from "../labels";
import { cameraProblem } from "../picture/camera";
import { frameBlob } from "../picture/frame-blob";
import type { PictureSink } from "../picture/image-input";
import { readPicture } from "../picture/picture";
import type { Address } from "../shell/address";
import type { App } from "../tasks/task";
import { LiveBars } from "./live-bars";
import { closeSource, showCamera, showFile, type LiveSource } from "./live-source";
import { Pace } from "./pace";
import { SteadyNews } from "./steady-news";
import { SteadyScores } from "./steady-scores";
import { watchFrames } from "./watch-frames";
import { classifyWhole } from "./whole-video";
import { sentence } from "../sentence";

const everyday = ["a face", "a person", "a cup", "a chair", "a laptop", "a plant", "an empty room"];

/** The second room: labels for what the camera or a video shows, now. */
export class LiveView {
  readonly #app: App;
  readonly #sink: PictureSink;
  readonly #video = byId("live-video", HTMLVideoElement);
  readonly #labels = byId("live-labels", HTMLTextAreaElement);
  readonly #result = byId("live-result", HTMLDivElement);
  readonly #placeholder: Node[] = [...this.#result.childNodes];
  #source: LiveSource | undefined;
  #running: AbortController | undefined;
  /** What is said while frames are named. */
  #playing = "Off";
  /** Counts what was asked for, so that a slow camera does not come on after it was told to stop. */
  #request = 0;

  constructor(app: App, address: Address, sink: PictureSink) {
    this.#app = app;
    this.#sink = sink;
    address.keep("live", this.#labels);
    address.suggest(this.#labels, everyday.join(", "));
    this.#wire();
    let loaded: CoCa | undefined;
    app.engine.state.watch((state) => {
      // While the device comes back, the package keeps the frame that is under way.
      const model = state.phase === "ready" || state.phase === "recovering" ? state.model : undefined;
      if (model !== loaded) this.#restart();
      loaded = model;
      if (this.#running)
        this.#state(state.phase === "recovering" ? "The device is coming back" : this.#playing);
    });
    app.open.watch((view) => {
      // A camera nobody looks at is off.
      if (view !== "live") this.#close();
    });
  }

  /** Plays a video file and names what it shows. */
  play(file: File): void {
    this.#app.open.set("live");
    void this.#show((video) => showFile(video, file));
  }

  #wire(): void {
    byId("live-camera", HTMLButtonElement).addEventListener("click", () => void this.#show(showCamera));
    byId("live-stop", HTMLButtonElement).addEventListener("click", () => {
      this.#close();
      byId("live-camera", HTMLButtonElement).focus();
    });
    const file = byId("live-file", HTMLInputElement);
    file.addEventListener("change", () => {
      const [chosen] = file.files ?? [];
      file.value = "";
      if (chosen) this.play(chosen);
    });
    byId("live-keep", HTMLButtonElement).addEventListener("click", () => void this.#keepFrame());
    byId("live-form", HTMLFormElement).addEventListener("submit", (event) => event.preventDefault());
    let typed: ReturnType<typeof setTimeout> | undefined;
    this.#labels.addEventListener("input", () => {
      clearTimeout(typed);
      typed = setTimeout(() => this.#restart(), 500);
    });
  }

  async #show(open: (video: HTMLVideoElement) => Promise<LiveSource>): Promise<void> {
    this.#close();
    const mine = ++this.#request;
    this.#problem(undefined);
    this.#state("Starting");
    try {
      const source = await open(this.#video);
      if (mine !== this.#request) return closeSource(this.#video, source);
      this.#source = source;
      this.#refresh();
      this.#restart();
    } catch (error) {
      if (mine !== this.#request) return;
      this.#problem(error instanceof DOMException ? cameraProblem(error) : sentence(messageOf(error)));
      this.#state("Off");
    }
  }

  #close(): void {
    this.#request += 1;
    this.#running?.abort();
    this.#running = undefined;
    if (this.#source) closeSource(this.#video, this.#source);
    this.#source = undefined;
    byId("video-result", HTMLDivElement).hidden = true;
    this.#result.replaceChildren(...this.#placeholder);
    this.#refresh();
  }

  /** Begins anew, with the labels and the model of now. */
  #restart(): void {
    this.#running?.abort();
    this.#running = undefined;
    if (this.#source === undefined) return;
    const { model } = this.#app.engine;
    if (model === undefined) return this.#state("Waiting for the model");
    const labels = parseList(this.#labels.value);
    if (labels.length < 2)
      return this.#problem("Please give two labels or more: the model chooses between them.");
    this.#problem(undefined);
    const running = (this.#running = new AbortController());
    const source = this.#source;
    const work: Promise<unknown>[] = [this.#watch(model, labels, running.signal)];
    if (source.kind === "file") work.push(classifyWhole(model, source.file, labels, running.signal));
    this.#app.record({ live: { labels, file: source.kind === "file" } });
    Promise.all(work).catch((error: unknown) => {
      if (running.signal.aborted) return;
      running.abort();
      if (isFatal(error)) this.#app.engine.lose(model, error);
      else if (!isAborted(error)) this.#problem(sentence(messageOf(error)));
      this.#state("Stopped");
    });
  }

  async #watch(model: CoCa, labels: readonly string[], signal: AbortSignal): Promise<void> {
    this.#state("Reading the labels");
    const classifier = await model.classifier(labels, { signal });
    try {
      const bars = new LiveBars(labels, "Labels now");
      const [scores, pace, news] = [new SteadyScores(labels), new Pace(), new SteadyNews()];
      this.#result.replaceChildren(bars.element);
      this.#playing = this.#source?.kind === "file" ? "While it plays" : "Live";
      this.#state(this.#playing);
      const paceText = byId("live-pace", HTMLParagraphElement);
      await watchFrames(this.#video, classifier, signal, (frame, ms) => {
        const now = performance.now();
        scores.add(frame);
        pace.add(now);
        const leader = scores.leader?.label;
        bars.show(scores.all, leader);
        const fps = pace.perSecond;
        paceText.textContent = `${fps === undefined ? "–" : figure(fps)} FPS · ${duration(ms)} a frame`;
        const told = leader === undefined ? undefined : news.next(leader, now);
        if (told !== undefined) announce(`Now: ${told}`);
      });
    } finally {
      classifier.dispose();
    }
  }

  /** Takes what is seen now into the first room. */
  async #keepFrame(): Promise<void> {
    const blob = await frameBlob(this.#video);
    if (blob === undefined) return this.#problem("The video gave no picture. Please try again.");
    this.#app.open.set("picture");
    byId("tab-picture", HTMLButtonElement).focus();
    this.#sink.offer(() => readPicture(blob, "video frame", 'document.querySelector("video")'));
  }

  #refresh(): void {
    const on = this.#source !== undefined;
    this.#video.hidden = !on;
    byId("live-empty", HTMLDivElement).hidden = on;
    byId("live-stop", HTMLButtonElement).hidden = !on;
    byId("live-keep", HTMLButtonElement).hidden = !on;
    byId("live-camera", HTMLButtonElement).hidden = this.#source?.kind === "camera";
    byId("live-pace", HTMLParagraphElement).textContent = "";
    if (!on) this.#state("Off");
  }

  #state(text: string): void {
    byId("live-state", HTMLParagraphElement).textContent = text;
  }

  #problem(text: string | undefined): void {
    const problem = byId("live-problem", HTMLParagraphElement);
    problem.hidden = text === undefined;
    problem.textContent = text ?? "";
  }
}
