// Keeps the GPU devices of this worker at hand, and does to them what the test asks for.
const devices = [];
const { requestDevice } = GPUAdapter.prototype;
GPUAdapter.prototype.requestDevice = async function (descriptor) {
  const device = await requestDevice.call(this, descriptor);
  devices.push(device);
  return device;
};

const faults = {
  destroy: (device) => device.destroy(),
  "out-of-memory": (device) => report(device, new GPUOutOfMemoryError("a test says so")),
  // A real one: the usage is none that there is.
  invalid: (device) => device.createBuffer({ size: 4, usage: 0 }),
};

function report(device, error) {
  device.dispatchEvent(new GPUUncapturedErrorEvent("uncapturederror", { error }));
}

new BroadcastChannel("faulty-gpu").onmessage = ({ data }) => devices.forEach(faults[data]);

if (new URL(location.href).searchParams.has("no-timestamps")) {
  const { get } = Object.getOwnPropertyDescriptor(GPUAdapter.prototype, "features");
  Object.defineProperty(GPUAdapter.prototype, "features", {
    get() {
      const names = new Set(get.call(this));
      names.delete("timestamp-query");
      return names;
    },
  });
}
if (new URL(location.href).searchParams.has("hardware")) {
  // Says of the software adapter that it is none, so that `auto` takes it.
  Object.defineProperty(GPUAdapterInfo.prototype, "isFallbackAdapter", { get: () => false });
}
