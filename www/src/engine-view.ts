import type { LoadProgress, ModelInfo } from "coca-wasm";
import { announce, byId, make } from "./dom";
import type { Engine, EngineState } from "./engine";
import { bytes, count, duration } from "./format";
import type { Problem } from "./problem";
import { isDevice, parseModelAddress, writeUrl, type UrlState } from "./url-state";

/** Shows what the model is doing: the badge, the notice and the facts; and wires the form that changes it. */
export function showEngine(engine: Engine): void {
  const form = fillForm(engine.wanted);
  byId("engine-form", HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault();
    const wanted = form.read();
    if (wanted !== undefined) load(engine, wanted);
  });

  let phase: EngineState["phase"] | undefined;
  engine.state.watch((state) => {
    showBadge(state);
    if (state.phase === phase) return;
    phase = state.phase;
    document.body.dataset["engine"] = phase;
    showNotice(engine, state);
    showFacts(state.phase === "ready" ? state.model.info : undefined);
    if (state.phase === "ready") announce(`The model is ready on ${deviceName(state.model.info)}.`);
    if (state.phase === "loading") {
      announce("The model is loading.");
      form.write(engine.wanted);
    }
  });
}

function load(engine: Engine, wanted: UrlState): void {
  history.replaceState(null, "", writeUrl(location.href, wanted));
  void engine.load(wanted);
}

function fillForm(wanted: UrlState): { read(): UrlState | undefined; write(state: UrlState): void } {
  const address = byId("model-address", HTMLInputElement);
  const device = byId("device", HTMLSelectElement);
  const write = (state: UrlState): void => {
    address.value = state.model ?? "";
    device.value = state.device;
  };
  const read = (): UrlState | undefined => {
    const state: UrlState = { device: isDevice(device.value) ? device.value : "auto" };
    const model = parseModelAddress(address.value, document.baseURI);
    const bad = model === undefined && address.value.trim() !== "";
    address.setCustomValidity(bad ? "This is not a web address. It should start with https://" : "");
    if (!address.reportValidity()) return undefined;
    if (model !== undefined) state.model = model;
    return state;
  };
  address.addEventListener("input", () => address.setCustomValidity(""));
  write(wanted);
  return { read, write };
}

function showBadge(state: EngineState): void {
  const [tone, title, detail] = badge(state);
  byId("badge", HTMLAnchorElement).dataset["tone"] = tone;
  byId("badge-title", HTMLSpanElement).textContent = title;
  byId("badge-detail", HTMLSpanElement).textContent = detail;
  const bar = byId("badge-progress", HTMLProgressElement);
  bar.hidden = tone !== "busy";
  const progress = state.phase === "loading" ? state.progress : undefined;
  if (progress?.total) bar.value = progress.loaded / progress.total;
  else bar.removeAttribute("value");
}

function badge(state: EngineState): [tone: string, title: string, detail: string] {
  switch (state.phase) {
    case "checking":
      return ["busy", "Starting", "Looking at what this browser can do"];
    case "asking":
      return ["wait", "Waiting for you", "A link asks for another model"];
    case "loading":
      return ["busy", "Loading the model", describe(state.progress)];
    case "problem":
      return ["bad", state.problem.title, "See below for what to do"];
    case "ready": {
      const { info } = state.model;
      const parts = [info.name, info.dtype, `${count(info.parameters)} parameters`];
      return ["good", `Ready on ${deviceName(info)}`, parts.join(" · ")];
    }
  }
}

/** What loading is doing, with bytes where bytes are what counts. */
function describe(progress: LoadProgress | undefined): string {
  if (progress === undefined) return "Starting the runtime";
  const { phase, file, loaded, total } = progress;
  const amount = total === undefined ? bytes(loaded) : `${bytes(loaded)} of ${bytes(total)}`;
  switch (phase) {
    case "download":
      return `Downloading ${file ?? "the model"}, ${amount}`;
    case "verify":
      return `Checking ${file ?? "the model"}, ${amount}`;
    case "upload":
      return `Moving the weights to the device, ${amount}`;
    case "selftest":
      return "Testing the device against known numbers";
    case "ready":
      return "Ready";
  }
}

function showNotice(engine: Engine, state: EngineState): void {
  const notice = byId("notice", HTMLElement);
  const actions: HTMLButtonElement[] = [];
  const add = (text: string, act: () => void): void => {
    const button = make(
      "button",
      { type: "button", className: actions.length === 0 ? "button primary" : "button" },
      text,
    );
    button.addEventListener("click", act);
    actions.push(button);
  };
  const { wanted } = engine;
  const small = (): void => load(engine, { device: wanted.device });
  let text: Pick<Problem, "title" | "detail" | "hint"> | undefined;
  if (state.phase === "asking") {
    text = {
      title: "This link brings its own model",
      detail: `It would be downloaded from ${new URL(state.address).host}: ${state.address}`,
      hint: "Large models are hundreds of megabytes. Your pictures stay here either way.",
    };
    add("Load that model", () => load(engine, wanted));
    add("Use the small one instead", small);
  } else if (state.phase === "problem") {
    text = state.problem;
    if (state.problem.retry) add("Try again", () => load(engine, wanted));
    if (state.problem.tryCpu && wanted.device !== "cpu")
      add("Use the CPU", () => load(engine, { ...wanted, device: "cpu" }));
    if (state.problem.trySmall) add("Use the small model", small);
  }
  const hadFocus = notice.contains(document.activeElement);
  notice.hidden = text === undefined;
  notice.dataset["tone"] = state.phase;
  byId("notice-title", HTMLHeadingElement).textContent = text?.title ?? "";
  byId("notice-detail", HTMLParagraphElement).textContent = text?.detail ?? "";
  byId("notice-hint", HTMLParagraphElement).textContent = text?.hint ?? "";
  byId("notice-actions", HTMLDivElement).replaceChildren(...actions);
  if (text !== undefined) {
    announce(`${text.title}. ${text.detail} ${text.hint}`);
    notice.scrollIntoView({ block: "nearest" });
  }
  // Its button is gone: the keyboard goes on where the state is told.
  else if (hadFocus) byId("badge", HTMLAnchorElement).focus();
}

function showFacts(info: ModelInfo | undefined): void {
  const rows: [string, string][] = info === undefined ? [["Model", "none yet"]] : facts(info);
  byId("facts", HTMLDListElement).replaceChildren(
    ...rows.flatMap(([term, text]) => [make("dt", {}, term), make("dd", {}, text)]),
  );
}

/** Adds how long one picture takes the image encoder. */
export function showEncodeTime(ms: number): void {
  const last = byId("facts", HTMLDListElement).lastElementChild;
  if (last !== null) last.textContent = `${duration(ms)} a picture`;
}

function facts(info: ModelInfo): [string, string][] {
  const { timings } = info;
  const rows: [string, string][] = [
    ["Model", info.revision === undefined ? info.name : `${info.name}, revision ${info.revision}`],
    ["Size", `${count(info.parameters)} parameters, ${info.dtype}`],
    ["Device", `${deviceName(info)}: ${info.reason}`],
  ];
  if (info.adapter) rows.push(["Adapter", adapterName(info.adapter)]);
  rows.push(["Checked", checks(info)]);
  rows.push(["Loaded in", `${duration(timings.totalMs)}, of which ${duration(timings.downloadMs)} download`]);
  rows.push(["Encoding", "measured with the first picture"]);
  return rows;
}

function checks(info: ModelInfo): string {
  const files = info.verified ? "every file by SHA-256" : "files came without checksums";
  if (info.selfTestError === undefined) return files;
  return `${files}; self-test within ${info.selfTestError.toExponential(0)}`;
}

function deviceName(info: ModelInfo): string {
  return info.device === "webgpu" ? "WebGPU" : "the CPU";
}

function adapterName(adapter: NonNullable<ModelInfo["adapter"]>): string {
  const names = [adapter.vendor, adapter.architecture, adapter.device, adapter.description].filter(
    (name) => name !== "",
  );
  return [...new Set(names)].join(", ") || "the browser does not say";
}
