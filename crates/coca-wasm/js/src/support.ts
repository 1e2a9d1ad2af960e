import { platform } from "./platform.js";
import type { AdapterInfo, Support } from "./types.js";

/** Why this environment can or cannot use WebGPU. */
export type Probe =
  | {
      readonly ok: true;
      readonly info: AdapterInfo;
      /** Whether it is software, which is far slower than the CPU itself. */
      readonly software: boolean;
      readonly features: readonly string[];
      readonly limits: Readonly<Record<string, number>>;
    }
  | { readonly ok: false; readonly reason: string };

/** Looks for a WebGPU adapter that the runtime can use. Asks for no device, so it changes nothing. */
export async function probeWebGpu(): Promise<Probe> {
  const gpu = typeof navigator === "undefined" ? undefined : (navigator.gpu as GPU | undefined);
  if (!gpu) {
    const insecure = typeof isSecureContext === "boolean" && !isSecureContext;
    return {
      ok: false,
      reason: insecure
        ? "WebGPU is only there on secure pages: serve the page over https or from localhost"
        : "there is no WebGPU here (navigator.gpu is missing)",
    };
  }
  let adapter: GPUAdapter | null;
  try {
    adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  } catch (thrown) {
    return { ok: false, reason: `WebGPU gave no adapter: ${String(thrown)}` };
  }
  if (!adapter) return { ok: false, reason: "WebGPU gave no adapter: no GPU, or one that the browser does not trust" };
  if (!adapter.features.has("timestamp-query")) {
    // The runtime times its kernels with it and cannot start without.
    return { ok: false, reason: "the WebGPU adapter lacks the feature timestamp-query, which the runtime needs" };
  }
  const { vendor, architecture, device, description } = adapter.info;
  return {
    ok: true,
    info: { vendor, architecture, device, description },
    // Absent in older browsers.
    software: (adapter.info.isFallbackAdapter as boolean | undefined) ?? false,
    features: [...adapter.features].sort(),
    limits: numericLimits(adapter.limits),
  };
}

/** What this environment can do; never rejects, and can be called anywhere, also where there is no browser. */
export async function support(): Promise<Support> {
  const cpuReason = reasonAgainstCpu();
  const probe = cpuReason === undefined ? await probeWebGpu() : undefined;
  const reason = cpuReason ?? (probe?.ok === false ? probe.reason : undefined);
  return {
    webgpu: probe?.ok === true,
    cpu: cpuReason === undefined,
    ...(reason === undefined ? {} : { reason }),
    features: probe?.ok ? probe.features : [],
    limits: probe?.ok ? probe.limits : {},
  };
}

/** Why nothing at all can run here, or `undefined` if it can. */
export function reasonAgainstCpu(): string | undefined {
  const reason = platform().reasonAgainst();
  if (reason !== undefined) return reason;
  if (typeof WebAssembly === "undefined") return "WebAssembly is off";
  if (!WebAssembly.validate(SIMD_MODULE)) return "the WebAssembly here has no SIMD";
  return undefined;
}

// (module (func (result v128) i32.const 0 i8x16.splat))
const SIMD_MODULE = new Uint8Array([
  0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, 0x01, 0x05, 0x01, 0x60, 0x00, 0x01, 0x7b, 0x03, 0x02, 0x01, 0x00,
  0x0a, 0x08, 0x01, 0x06, 0x00, 0x41, 0x00, 0xfd, 0x0f, 0x0b,
]);

/** Whether the wasm may hold relaxed SIMD: Chromium 114, Firefox 145, Node.js 21; not Safari. */
export function hasRelaxedSimd(): boolean {
  return WebAssembly.validate(RELAXED_SIMD_MODULE);
}

// (module (func (result v128) i32.const 0 i8x16.splat i32.const 0 i8x16.splat i32.const 0 i8x16.splat f32x4.relaxed_madd))
const RELAXED_SIMD_MODULE = new Uint8Array([
  0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, 0x01, 0x05, 0x01, 0x60, 0x00, 0x01, 0x7b, 0x03, 0x02, 0x01, 0x00,
  0x0a, 0x13, 0x01, 0x11, 0x00, 0x41, 0x00, 0xfd, 0x0f, 0x41, 0x00, 0xfd, 0x0f, 0x41, 0x00, 0xfd, 0x0f, 0xfd, 0x85,
  0x02, 0x0b,
]);

/** The limits are getters of a prototype, so they have to be walked by hand. */
function numericLimits(limits: GPUSupportedLimits): Record<string, number> {
  const result: Record<string, number> = {};
  for (const name in limits) {
    const value: unknown = limits[name as keyof GPUSupportedLimits];
    if (typeof value === "number") result[name] = value;
  }
  return result;
}
