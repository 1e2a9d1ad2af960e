/** Every code a {@link CocaError} can carry, with what it means. */
export type CocaErrorCode =
  /** An argument has the wrong type or is out of range. */
  | "invalid-argument"
  /** This environment cannot run the package at all (no worker, no WebAssembly SIMD, or not a browser). */
  | "unsupported"
  /** `device: "webgpu"` was asked for and there is no adapter that can be used. */
  | "webgpu-unavailable"
  /** WebGPU refused a kernel or reported an error: its results can no longer be trusted. */
  | "webgpu-failed"
  /** The device computes numbers other than the stored ones. */
  | "self-test-failed"
  /** The GPU went away (driver reset, sleep, removal). Load the model again. */
  | "device-lost"
  /** Neither the device nor the page has the memory for this. */
  | "out-of-memory"
  /** A download failed: server unreachable, refused, or an HTTP error. */
  | "network"
  /** A file of the model folder does not exist. */
  | "not-found"
  /** A file is not the one that `coca.json` describes (size or SHA-256). */
  | "integrity"
  /** `open_clip_config.json`, `coca.json` or `tokenizer.json` cannot be used. */
  | "config-invalid"
  /** The weights are damaged, or are not those of the configured model. */
  | "weights-invalid"
  /** The image is damaged or in a format that is not understood. */
  | "image-decode"
  /** The image has more pixels than the limit for untrusted input. */
  | "image-too-large"
  /** The image belongs to another origin that does not allow reading it. */
  | "image-cors"
  /** The call's `signal` was aborted. `cause` is the signal's reason. */
  | "aborted"
  /** The model or classifier was disposed. */
  | "disposed"
  /** The runtime stopped on a bug. The page is unharmed; load the model again. */
  | "panic"
  /** The worker script could not be started, or sent something that cannot be understood. */
  | "worker-failed"
  /** Anything else: a bug in this package. */
  | "internal";

/** The only error this package rejects with. `code` is for programs, `message` says what to do. */
export class CocaError extends Error {
  readonly code: CocaErrorCode;

  constructor(code: CocaErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "CocaError";
    this.code = code;
  }
}

/** A {@link CocaError} as it crosses the worker boundary, which keeps neither classes nor own fields of errors. */
export interface WireError {
  readonly code: CocaErrorCode;
  readonly message: string;
  readonly stack: string | undefined;
  readonly cause: { readonly name: string; readonly message: string } | undefined;
}

/** Describes anything that was thrown; `fallback` is the code of what is not ours. */
export function toWire(thrown: unknown, fallback: CocaErrorCode = "internal"): WireError {
  const error = asCocaError(thrown, fallback);
  const { cause } = error;
  return {
    code: error.code,
    message: error.message,
    stack: error.stack,
    cause: cause instanceof Error ? { name: cause.name, message: cause.message } : undefined,
  };
}

/** Rebuilds the error on the other side. */
export function fromWire(wire: WireError): CocaError {
  const { cause } = wire;
  const error = new CocaError(
    wire.code,
    wire.message,
    cause && { cause: Object.assign(new Error(cause.message), { name: cause.name }) },
  );
  if (wire.stack !== undefined) error.stack = wire.stack;
  return error;
}

/** Wraps what is not a {@link CocaError} yet. The Rust side throws plain `{ code, message }` objects. */
export function asCocaError(thrown: unknown, fallback: CocaErrorCode = "internal"): CocaError {
  if (thrown instanceof CocaError) return thrown;
  if (isCodeAndMessage(thrown)) return new CocaError(thrown.code, thrown.message);
  if (thrown instanceof Error) {
    // Typed arrays and memories that cannot be allocated throw a RangeError in every engine.
    const code = thrown instanceof RangeError && /alloc|memory|length/i.test(thrown.message) ? "out-of-memory" : fallback;
    return new CocaError(code, thrown.message, { cause: thrown });
  }
  return new CocaError(fallback, String(thrown));
}

/** The error for a call whose signal was aborted. */
export function abortError(signal: AbortSignal): CocaError {
  return new CocaError("aborted", "the call was aborted by its signal", { cause: signal.reason });
}

function isCodeAndMessage(value: unknown): value is { code: CocaErrorCode; message: string } {
  return (
    typeof value === "object" &&
    value !== null &&
    !(value instanceof Error) &&
    "code" in value &&
    typeof value.code === "string" &&
    "message" in value &&
    typeof value.message === "string"
  );
}
