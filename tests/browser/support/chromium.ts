/** Nothing that the tests did not ask for: no set-up pages, no background requests. */
const quiet = ["--no-first-run", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

/** A browser without a WebGPU adapter: the case in which the CPU must serve. */
export const withoutGpu = quiet;

/** A browser whose GPU is SwiftShader, a Vulkan in software that Chromium brings: slow, and the same everywhere. */
export const withSwiftShader = [...quiet, "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];

/** The machine's own GPU, or SwiftShader where it has none. */
export const withWebGpu = [...quiet, "--enable-unsafe-webgpu"];
