import { CocaError } from "../error.js";

/**
 * Calls `onFailure` when a GPU device of this worker is lost or reports an error. The runtime makes its device deep
 * inside of wgpu, which tells nobody of a lost device until the next read, hence the hook on `requestDevice`; it is
 * the worker's own copy of it, so the page's WebGPU is not touched.
 */
export function guardGpuDevices(onFailure: (error: CocaError) => void): void {
  if (typeof GPUAdapter === "undefined") return;
  const { requestDevice } = GPUAdapter.prototype;
  GPUAdapter.prototype.requestDevice = async function (this: GPUAdapter, descriptor) {
    const device = await requestDevice.call(this, descriptor);
    void device.lost.then((info) => {
      onFailure(new CocaError("device-lost", `the GPU device was lost (${info.reason}): ${info.message}`));
    });
    device.addEventListener("uncapturederror", ({ error }) => {
      const outOfMemory = typeof GPUOutOfMemoryError !== "undefined" && error instanceof GPUOutOfMemoryError;
      onFailure(
        outOfMemory
          ? new CocaError("out-of-memory", `the GPU has not enough memory: ${error.message}`)
          : new CocaError("webgpu-failed", `the GPU reported an error: ${error.message}`),
      );
    });
    return device;
  };
}
