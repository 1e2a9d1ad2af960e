import type { LoadProgress, ModelInfo } from "coca-wasm";
import { byId } from "../dom";
import { bytes, count, seconds } from "../format";
import type { EngineState } from "./engine";
import type { Rate } from "./rate";

/** Says in the head of the page what the model is doing, and how far that is. */
export function showBadge(state: EngineState): void {
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

/** `WebGPU` or `the CPU`, as it stands in a sentence. */
export function deviceName(info: ModelInfo): string {
  return info.device === "webgpu" ? "WebGPU" : "the CPU";
}

function badge(state: EngineState): [tone: string, title: string, detail: string] {
  switch (state.phase) {
    case "checking":
      return ["busy", "Starting", "Looking at what this browser can do"];
    case "asking":
      return ["wait", "Waiting for you", "A link asks for another model"];
    case "loading":
      return ["busy", "Loading the model", describe(state.progress, state.rate)];
    case "recovering":
      return ["busy", "Starting the device again", "It went away; your picture and settings are still here"];
    case "problem":
      return ["bad", state.problem.title, "See below for what to do"];
    case "ready": {
      const { info } = state.model;
      const parts = [info.name, info.dtype, `${count(info.parameters)} parameters`];
      if (state.fromCache) parts.push("kept on this device");
      return ["good", `Ready on ${deviceName(info)}`, parts.join(" · ")];
    }
  }
}

/** What loading is doing, with bytes, speed and time where bytes are what counts. */
function describe(progress: LoadProgress | undefined, rate: Rate): string {
  if (progress === undefined) return "Starting the runtime";
  const { phase, file, loaded, total, fromCache } = progress;
  const amount = total === undefined ? bytes(loaded) : `${bytes(loaded)} of ${bytes(total)}`;
  switch (phase) {
    case "download": {
      if (fromCache) return `Reading ${file ?? "the model"} from this device, ${amount}`;
      const parts = [`Downloading, ${amount}`];
      const speed = rate.perSecond;
      if (speed !== undefined) parts.push(`${bytes(speed)}/s`);
      const left = total === undefined || loaded >= total ? undefined : rate.secondsFor(total - loaded);
      if (left !== undefined) parts.push(`${seconds(left)} left`);
      return parts.join(" · ");
    }
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
