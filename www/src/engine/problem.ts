import { CocaError, type CocaErrorCode } from "coca-wasm";
import { sentence } from "../sentence";

/** Something that went wrong, for people: what, why, and what they can do. */
export interface Problem {
  title: string;
  detail: string;
  hint: string;
  /** Whether loading the model again can help. */
  retry: boolean;
  /** Whether another device can help. */
  tryCpu: boolean;
  /** Whether the small model that ships with the page can help. */
  trySmall: boolean;
}

/** After these the loaded model can no longer be used, whatever it was doing. */
const fatal: readonly CocaErrorCode[] = [
  "device-lost",
  "webgpu-failed",
  "self-test-failed",
  "panic",
  "worker-failed",
  "disposed",
  "out-of-memory",
];

export function isFatal(error: unknown): boolean {
  return error instanceof CocaError && fatal.includes(error.code);
}

export function isDeviceLost(error: unknown): boolean {
  return error instanceof CocaError && error.code === "device-lost";
}

export function isAborted(error: unknown): boolean {
  return error instanceof CocaError && error.code === "aborted";
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Explains why the model cannot be used. `foreign`: it came from an address that was typed or linked. */
export function modelProblem(error: unknown, foreign: boolean): Problem {
  const code = error instanceof CocaError ? error.code : "internal";
  const texts = explain(code, foreign);
  return { detail: sentence(messageOf(error)), ...texts, trySmall: foreign && texts.trySmall };
}

function explain(code: CocaErrorCode, foreign: boolean): Omit<Problem, "detail"> {
  const base = { retry: true, tryCpu: false, trySmall: true };
  switch (code) {
    case "unsupported":
      return unsupported;
    case "webgpu-unavailable":
      return {
        title: "WebGPU is not available here",
        hint:
          "The same model also runs on the CPU, only slower. In Chrome and Edge, WebGPU may be switched " +
          "off together with “graphics acceleration” in the settings.",
        ...base,
        tryCpu: true,
        trySmall: false,
      };
    case "webgpu-failed":
    case "self-test-failed":
      return {
        title: "The graphics processor gave wrong results",
        hint:
          "The page compares with stored numbers before it trusts a device. The CPU gives the right ones, " +
          "and updating the browser or the graphics driver often helps.",
        ...base,
        tryCpu: true,
        trySmall: false,
      };
    case "device-lost":
      return {
        title: "The graphics processor went away",
        hint: "That happens when a computer sleeps or a driver restarts. Your picture and settings are still here.",
        ...base,
        tryCpu: true,
        trySmall: false,
      };
    case "out-of-memory":
      return {
        title: "Not enough memory",
        hint: "Close other tabs and try again, or use a smaller model.",
        ...base,
        tryCpu: true,
      };
    case "network":
    case "not-found":
      return {
        title: "The model could not be downloaded",
        hint: foreign
          ? "The address should be that of a folder with open_clip_config.json and open_clip_model.safetensors, on a server that lets other pages read it (CORS)."
          : "Check the connection and try again.",
        ...base,
      };
    case "integrity":
    case "config-invalid":
    case "weights-invalid":
      return {
        title: "This is not a model that can be used",
        hint: foreign
          ? "The page reads folders of CoCa models in the format of open_clip, with weights as safetensors."
          : "The download may be damaged. Try again, or reload the page.",
        ...base,
      };
    default:
      return { title: "The model stopped", hint: "Loading it again usually helps.", ...base, tryCpu: true };
  }
}

const unsupported = {
  title: "This browser cannot run the model",
  hint:
    "It needs WebAssembly with SIMD and module workers: Chrome or Edge 91, Firefox 114, Safari " +
    "16.4, or newer. A lockdown or enterprise mode can switch WebAssembly off.",
  retry: false,
  tryCpu: false,
  trySmall: false,
};

/** Neither WebGPU nor the CPU can run the model. */
export function unsupportedProblem(reason: string | undefined): Problem {
  return { ...unsupported, detail: sentence(reason ?? "Neither WebGPU nor WebAssembly SIMD is available.") };
}
