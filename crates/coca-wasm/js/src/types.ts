import type { CocaError, CocaErrorCode } from "./error.js";

/**
 * Anything that shows an image. Encoded bytes (Blob, File, URL, or the bytes of a file) are decoded exactly as the
 * native tools do; pixel sources are read out at their natural size and then take the same path, so the result never
 * depends on the browser's own scaling. In Node.js a string may also be the path of a file.
 */
export type ImageInput =
  | Blob
  | string
  | URL
  | Uint8Array<ArrayBuffer>
  | ArrayBuffer
  | ImageData
  | ImageBitmap
  | VideoFrame
  | OffscreenCanvas
  | HTMLCanvasElement
  | HTMLImageElement
  | HTMLVideoElement;

/**
 * Where a model comes from: the address of a model folder, a repository of the Hugging Face hub (`hf:owner/name` or
 * `hf:owner/name@revision`), or the files of a folder, by name
 * (`open_clip_config.json`, `open_clip_model.safetensors`, …), for example from an `<input webkitdirectory>`.
 */
export type ModelSource = string | URL | readonly File[] | Readonly<Record<string, Blob | Uint8Array<ArrayBuffer>>>;

/** `auto` takes WebGPU when it is there and passes its self-test, else the CPU. */
export type DeviceChoice = "auto" | "webgpu" | "cpu";

/** What loading is doing, in this order (download and verify once for each file). */
export type LoadPhase = "download" | "verify" | "upload" | "selftest" | "ready";

/** One step of loading. Within a phase and file `loaded` only grows, and ends at `total`. */
export interface LoadProgress {
  readonly phase: LoadPhase;
  /** The file, in the phases `download` and `verify`. */
  readonly file?: string;
  /** Bytes in `download`, `verify` and `upload`, else steps. */
  readonly loaded: number;
  /** `undefined` while a server does not say how long a file is. */
  readonly total: number | undefined;
  /** In the phase `download`: whether the file comes from the cache, without the network. */
  readonly fromCache?: boolean;
}

/** A model that the browser keeps, whole or in part, for loads without a download. */
export interface CachedModel {
  /** The address of its folder. */
  readonly url: string;
  /** How much is kept. */
  readonly bytes: number;
  readonly files: number;
  /** Whether all of it is there: then it can be loaded without a network. */
  readonly complete: boolean;
}

/** The models that the browser keeps. Where there is no storage (insecure pages), it is empty. */
export interface ModelStore {
  list(): Promise<CachedModel[]>;
  /** Removes a model by the address it was loaded from, or all of them. */
  delete(source?: string | URL): Promise<void>;
}

/** Receives messages instead of the console. The package never writes to the console itself. */
export interface Logger {
  debug?(message: string): void;
  info?(message: string): void;
  warn?(message: string): void;
  error?(message: string): void;
}

/** Common to every call. */
export interface CallOptions {
  /** Rejects the call with code `aborted`; a queued call never starts, a running generation stops within one token. */
  readonly signal?: AbortSignal;
}

/** Options of `CoCa.load`. */
export interface LoadOptions extends CallOptions {
  /** Default `auto`. */
  readonly device?: DeviceChoice;
  readonly onProgress?: (progress: LoadProgress) => void;
  /**
   * The GPU failed after the model was loaded, and a new worker is loading it again from the same source: on the same
   * device after a loss, on the CPU when `device` is `auto` and the GPU ran out of memory or refused its work. Calls
   * under way are made once more, later ones wait; `info` says what came of it.
   */
  readonly onRecover?: (error: CocaError) => void;
  /** Keep what is downloaded for the next load, which then needs no network. Default `true`. */
  readonly cache?: boolean;
  /** Default: silent. */
  readonly logger?: Logger;
  /**
   * Where the wasm is served, if not beside the package's own files: `coca_bg.wasm`, which can do both devices, or each
   * device's own, `{ cpu: "…/coca_cpu_bg.wasm", webgpu: "…/coca_bg.wasm" }`. Only the one that is needed is fetched.
   *
   * `cpuRelaxed: "…/coca_cpu_relaxed_bg.wasm"` is taken for `cpu` where the engine has relaxed SIMD, and is faster there.
   */
  readonly wasmUrl?:
    | string
    | URL
    | { readonly cpu: string | URL; readonly webgpu: string | URL; readonly cpuRelaxed?: string | URL };
  /**
   * Where the package's `clip_vocabulary.bin` is served, if not beside its own files. It is fetched only for a model
   * that splits texts by CLIP's vocabulary and has no `tokenizer.json`, and kept with the model.
   */
  readonly clipVocabularyUrl?: string | URL;
  /** Makes the worker from `coca-wasm/worker`, for bundlers and policies that need a say in it. */
  readonly worker?: () => Worker;
}

/** How labels become texts. Every `{}` of a template is replaced by the label. */
export interface TemplateOptions {
  /** One prompt template, for example `"a photo of a {}"`. */
  readonly template?: string;
  /** Several: their text embeddings are averaged. */
  readonly templates?: readonly string[];
}

/** Options of `classify`. */
export interface ClassifyOptions extends CallOptions, TemplateOptions {
  /** Keep only the best; default all. */
  readonly topK?: number;
}

/** Options of a classifier's own `classify`. */
export interface ClassifierClassifyOptions extends CallOptions {
  /** Keep only the best; default all. */
  readonly topK?: number;
}

/** A label and its share of the whole: scores are a softmax over the labels. */
export interface LabelScore {
  readonly label: string;
  readonly score: number;
}

/** Options of `caption`. Greedy unless `beams`, `topK` or `topP` ask for more. */
export interface CaptionOptions extends CallOptions {
  /** The words the caption begins with. */
  readonly prefix?: string;
  /** At most so many tokens are generated. */
  readonly maxTokens?: number;
  /** The caption does not end before so many tokens, fewer than `maxTokens`. Default 0. */
  readonly minTokens?: number;
  /** Beam search with so many beams. */
  readonly beams?: number;
  /** Sample from the `topK` most probable tokens. */
  readonly topK?: number;
  /** Sample from the most probable tokens that hold this share of the probability, above 0 to 1. */
  readonly topP?: number;
  /** Flattens (above 1) or sharpens (below 1) sampling. Default 1. */
  readonly temperature?: number;
  /** The same seed samples the same caption. Default 0. */
  readonly seed?: number;
  /** Called with each piece of the text as it is made. */
  readonly onToken?: (piece: string) => void;
}

/** What was generated and how long it took. */
export interface GenerationTimings {
  /** From the start of the job (after queueing) to the first token; encoding the image included, if it was not yet. */
  readonly firstTokenMs: number;
  readonly totalMs: number;
  readonly tokensPerSecond: number;
}

/** A caption. */
export interface Caption {
  readonly caption: string;
  /** The token ids, special tokens left out. */
  readonly tokens: readonly number[];
  /** Natural logarithm of the caption's probability under the model. */
  readonly logProb: number;
  readonly timings: GenerationTimings;
}

/** Options of `answer`. */
export interface AnswerOptions extends CallOptions {
  /** Answer with the most probable of these instead of free text. */
  readonly choices?: readonly string[];
  /** At most so many tokens are generated. */
  readonly maxTokens?: number;
  /** Called with each piece of a free answer as it is made. */
  readonly onToken?: (piece: string) => void;
}

/** One of the given choices and its share of the whole. */
export interface ChoiceScore {
  readonly answer: string;
  readonly score: number;
}

/** An answer. */
export interface Answer {
  readonly answer: string;
  /** Natural logarithm of the answer's probability under the model. */
  readonly logProb: number;
  /** Only when choices were given: all of them, best first. */
  readonly choices?: readonly ChoiceScore[];
  readonly timings: GenerationTimings;
}

/** A part of a picture, in fractions of its width and height: the whole is `{ x: 0, y: 0, width: 1, height: 1 }`. */
export interface Region {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** A word of an explained text. */
export interface ExplainedWord {
  /** With its leading space, so that all words joined are the text. */
  readonly text: string;
  /** The share of each patch, `rows * columns` numbers, row by row; they sum to 1. */
  readonly heat: Float32Array;
}

/** Where in a picture each word of a text comes from. */
export interface Explanation {
  readonly text: string;
  /** Natural logarithm of the text's probability under the model. */
  readonly logProb: number;
  readonly words: readonly ExplainedWord[];
  /** Patches in a row of the grid. */
  readonly columns: number;
  /** Rows of the grid. */
  readonly rows: number;
  /** The part of the picture that the grid covers: its centre, where the model crops; more than it, where it pads. */
  readonly region: Region;
}

/** A video: an element, a file or an address, or its frames as images. */
export type VideoInput = HTMLVideoElement | Blob | string | URL | readonly ImageInput[];

/** A frame that was taken of a video. */
export interface VideoFrameInfo {
  /** From 0. */
  readonly index: number;
  /** How many will be taken. */
  readonly frames: number;
  /** Its place in the video, in seconds; `undefined` for frames that were given as images. */
  readonly time: number | undefined;
}

/** Options of `classifyVideo` with a classifier. */
export interface ClassifierVideoOptions extends CallOptions {
  /** How many frames are taken, evenly spaced. Default 16. */
  readonly frames?: number;
  /** Keep only the best; default all. */
  readonly topK?: number;
  /** Called when a frame has been embedded. */
  readonly onFrame?: (frame: VideoFrameInfo) => void;
}

/** Options of `classifyVideo`. */
export interface VideoOptions extends ClassifierVideoOptions, TemplateOptions {}

/** What an image of an index is called. */
export type ImageId = string | number;

/** Options of `ImageIndex.add`. */
export interface AddOptions extends CallOptions {
  /** Its name; an image of the same name is replaced. Default: a whole number that is free. */
  readonly id?: ImageId;
}

/** Options of `ImageIndex.search`. */
export interface SearchOptions extends CallOptions {
  /** Keep only the best. Default 10. */
  readonly topK?: number;
}

/** An image that was found. */
export interface SearchHit {
  readonly id: ImageId;
  /** Its cosine with what was searched for, -1 to 1. */
  readonly score: number;
}

/** What a browser says about its GPU; empty strings where it does not say. */
export interface AdapterInfo {
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly description: string;
}

/** How long each part of loading took, in milliseconds. */
export interface LoadTimings {
  readonly runtimeMs: number;
  readonly downloadMs: number;
  readonly uploadMs: number;
  readonly selfTestMs: number;
  readonly totalMs: number;
}

/** A loaded model. */
export interface ModelInfo {
  readonly device: "webgpu" | "cpu";
  /** Why this device. */
  readonly reason: string;
  /** Only on WebGPU. */
  readonly adapter?: AdapterInfo;
  /**
   * Of the matrices in memory: `f32`; `q8` (eight bits and a scale for each block) where the model folder has 8 bits, and on
   * the CPU also where it has 4; `q4` (four bits and a scale) where it has 4 bits on WebGPU; `f16` on a GPU with `shader-f16` where the folder has that. Activations and sums are always `f32`.
   */
  readonly dtype: string;
  /** Number of parameters. */
  readonly parameters: number;
  /** From `coca.json`, else the last part of the model's address. */
  readonly name: string;
  /** From `coca.json`. */
  readonly revision?: string;
  /** Largest difference of the stored self-test; absent when the model folder stores none. */
  readonly selfTestError?: number;
  /** Whether every file was checked against a SHA-256 of `coca.json`. */
  readonly verified: boolean;
  readonly timings: LoadTimings;
}

/** What this browser can do. */
export interface Support {
  readonly webgpu: boolean;
  readonly cpu: boolean;
  /** Why not, when one of them is `false`. */
  readonly reason?: string;
  /** Features of the WebGPU adapter. */
  readonly features: readonly string[];
  /** Limits of the WebGPU adapter. */
  readonly limits: Readonly<Record<string, number>>;
}

export type { CocaErrorCode };
