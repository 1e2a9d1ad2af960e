import { CocaError } from "../error.js";
import type { ChosenDevice } from "../protocol.js";
import type { Probe } from "../support.js";
import type { DeviceChoice } from "../types.js";

/** Decides on the device before anything is downloaded, and says why. */
export async function chooseDevice(choice: DeviceChoice, probe: () => Promise<Probe>): Promise<ChosenDevice> {
  if (choice === "cpu") return { kind: "cpu", reason: "the CPU was asked for" };
  const gpu = await probe();
  if (gpu.ok && gpu.software && choice === "auto") {
    return { kind: "cpu", reason: "the WebGPU adapter is only a software one, which is slower than the CPU" };
  }
  if (gpu.ok) {
    const reason = choice === "webgpu" ? "WebGPU was asked for" : "WebGPU is available";
    return { kind: "webgpu", reason, adapter: gpu.info };
  }
  if (choice === "webgpu") throw new CocaError("webgpu-unavailable", gpu.reason);
  return { kind: "cpu", reason: gpu.reason };
}
