import { Connection, type WorkerLike } from "./connection.js";
import { asCocaError, CocaError, type CocaErrorCode } from "./error.js";
import { folderPayload } from "./folder.js";
import { absoluteUrl, platform } from "./platform.js";
import type { ChosenDevice, LoadParams, Wasm } from "./protocol.js";
import { hasRelaxedSimd, reasonAgainstCpu } from "./support.js";
import type { DeviceChoice, LoadOptions, ModelInfo, ModelSource } from "./types.js";

/** A worker with a model in it. */
export interface RunningModel {
  readonly connection: Connection;
  readonly info: ModelInfo;
}

/** Failures of the GPU rather than of the model: with `auto`, the CPU may still do. */
const DEVICE_FAILURES: ReadonlySet<CocaErrorCode> = new Set([
  "webgpu-unavailable",
  "webgpu-failed",
  "self-test-failed",
  "device-lost",
  "out-of-memory",
  "panic",
]);

/**
 * Starts a worker and loads the model in it. A GPU that fails may leave the runtime in any state, so falling back to
 * the CPU means a new worker, which finds what was downloaded in the cache.
 *
 * With `reasonForCpu` it is loaded on the CPU whatever the options say, and `info.reason` is that.
 */
export async function startModel(
  source: ModelSource | undefined,
  options: LoadOptions,
  reasonForCpu?: string,
): Promise<RunningModel> {
  const unsupported = reasonAgainstCpu();
  if (unsupported !== undefined) throw new CocaError("unsupported", unsupported);
  const { device: choice = "auto" } = options;
  if (!(["auto", "webgpu", "cpu"] satisfies DeviceChoice[]).includes(choice)) {
    throw new CocaError("invalid-argument", `device must be "auto", "webgpu" or "cpu", not ${JSON.stringify(choice)}`);
  }
  const params = {
    folder: folderPayload(source),
    clipVocabulary: absoluteUrl(String(options.clipVocabularyUrl ?? new URL("./clip_vocabulary.bin", import.meta.url))),
    logging: options.logger !== undefined,
    cache: options.cache ?? true,
  };
  const wasm = wasmFor(options.wasmUrl);

  let connection = connect(options);
  let device: ChosenDevice | undefined;
  try {
    device =
      reasonForCpu === undefined
        ? await connection.call("chooseDevice", { choice }, { signal: options.signal })
        : { kind: "cpu", reason: reasonForCpu };
    return await load(connection, { ...params, wasm: wasm[device.kind], device }, options);
  } catch (thrown) {
    connection.end(asCocaError(thrown));
    const error = thrown instanceof CocaError ? thrown : undefined;
    const fallback = choice === "auto" && device?.kind === "webgpu" && error && DEVICE_FAILURES.has(error.code);
    if (!fallback) throw thrown;
    options.logger?.warn?.(`WebGPU failed, loading again on the CPU: ${error.message}`);
    connection = connect(options);
    device = { kind: "cpu", reason: gpuFailed(error) };
  }
  try {
    return await load(connection, { ...params, wasm: wasm.cpu, device }, options);
  } catch (thrown) {
    connection.end(asCocaError(thrown));
    throw thrown;
  }
}

/** Why the CPU was taken. */
export function gpuFailed(error: CocaError): string {
  return `WebGPU failed (${error.code}): ${error.message}`;
}

/** The wasm for each device. One address that is given for both is that of the binary that can do both. */
function wasmFor(given: LoadOptions["wasmUrl"]): Readonly<Record<ChosenDevice["kind"], Wasm>> {
  if (given === undefined) {
    return {
      cpu: { kind: "cpu", url: cpuUrl().href },
      webgpu: { kind: "full", url: new URL("./coca_bg.wasm", import.meta.url).href },
    };
  }
  if (typeof given === "string" || given instanceof URL) {
    const full = { kind: "full", url: absoluteUrl(String(given)) } as const;
    return { cpu: full, webgpu: full };
  }
  const cpu = (hasRelaxedSimd() ? given.cpuRelaxed : undefined) ?? given.cpu;
  return {
    cpu: { kind: "cpu", url: absoluteUrl(String(cpu)) },
    webgpu: { kind: "full", url: absoluteUrl(String(given.webgpu)) },
  };
}

/** Both spelt out: bundlers look for `new URL` with a whole name. */
function cpuUrl(): URL {
  return hasRelaxedSimd()
    ? new URL("./coca_cpu_relaxed_bg.wasm", import.meta.url)
    : new URL("./coca_cpu_bg.wasm", import.meta.url);
}

async function load(connection: Connection, params: LoadParams, options: LoadOptions): Promise<RunningModel> {
  const info = await connection.call("load", params, { signal: options.signal, onEvent: options.onProgress });
  return { connection, info };
}

function connect(options: LoadOptions): Connection {
  let worker: WorkerLike;
  try {
    worker = (options.worker?.() as WorkerLike | undefined) ?? platform().startWorker();
  } catch (cause) {
    throw new CocaError(
      "worker-failed",
      "the worker cannot be started; serve it from the page's own origin, allow it in the policy's worker-src, or " +
        "make it yourself with the option `worker`",
      { cause },
    );
  }
  return new Connection(worker, options.logger);
}
