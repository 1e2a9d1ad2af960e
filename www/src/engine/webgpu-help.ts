import { byId } from "../dom";
import type { Engine, EngineState } from "./engine";

/** Where the CPU does the work because there is no WebGPU: what this visitor's browser can do about it. */
export function showWebgpuHelp(engine: Engine, state: EngineState): void {
  const help = byId("webgpu-help", HTMLDetailsElement);
  const chosen = engine.wanted.device === "cpu";
  help.hidden = !(state.phase === "ready" && state.model.info.device === "cpu" && !chosen);
  byId("webgpu-help-text", HTMLParagraphElement).textContent = advice(navigator.userAgent);
}

function advice(agent: string): string {
  if (!isSecureContext) return "Browsers offer WebGPU only to pages that come over https.";
  if (/Firefox\//.test(agent)) {
    return "Firefox has WebGPU on Windows and on recent Macs; elsewhere set dom.webgpu.enabled in about:config.";
  }
  if (/Chrome\//.test(agent)) {
    return (
      "Chrome and Edge switch WebGPU off together with graphics acceleration: look under Settings, System. On " +
      "Linux it may need chrome://flags/#enable-unsafe-webgpu. An updated graphics driver often helps."
    );
  }
  if (/Safari\//.test(agent)) return "Safari has WebGPU from version 26 on.";
  return "A recent Chrome, Edge, Firefox or Safari on a computer with a graphics processor has WebGPU.";
}
