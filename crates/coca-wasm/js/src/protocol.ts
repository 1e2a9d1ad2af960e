/**
 * The messages between the page and the worker.
 *
 * A small protocol of our own rather than Comlink: with Comlink a call stays pending for ever when its worker dies,
 * there is no way to abort one, errors lose their class, and a stream needs a proxied callback that must be released
 * by hand. Those four are exactly what is promised here.
 */
import type { WireError } from "./error.js";
import type {
  AdapterInfo,
  Answer,
  Caption,
  DeviceChoice,
  Explanation,
  LabelScore,
  LoadProgress,
  ModelInfo,
} from "./types.js";

/** An image on its way to the worker. A Blob never changes, so its `key` says that the worker has seen it before. */
export type ImagePayload =
  | { readonly kind: "encoded"; readonly blob: Blob; readonly key: number }
  | { readonly kind: "url"; readonly url: string }
  | { readonly kind: "pixels"; readonly width: number; readonly height: number; readonly rgba: ArrayBuffer };

/** A model folder: an address, or its files by name, each a Blob or the address of that one file. */
export type FolderPayload =
  | { readonly kind: "address"; readonly url: string }
  | { readonly kind: "files"; readonly files: Readonly<Record<string, Blob | string>> };

/** Parameters of `load`. Addresses are absolute: a worker may resolve relative ones differently from the page. */
export interface LoadParams {
  readonly folder: FolderPayload;
  readonly wasm: Wasm;
  /** Where the merges of CLIP's vocabulary are, for models that split texts by them. */
  readonly clipVocabulary: string;
  readonly device: ChosenDevice;
  readonly logging: boolean;
  /** Whether files at an address may be kept for the next load. */
  readonly cache: boolean;
}

/** A wasm binary: the one with both devices in it, or the smaller one with the CPU alone. Each has bindings of its own. */
export interface Wasm {
  readonly kind: "full" | "cpu";
  readonly url: string;
}

/** The device to load on, and why. */
export type ChosenDevice =
  | { readonly kind: "cpu"; readonly reason: string }
  | { readonly kind: "webgpu"; readonly reason: string; readonly adapter: AdapterInfo };

/** The labels of a classification. Their embeddings are kept for as long as their `classifier`, if it has a number. */
export interface LabelsPayload {
  readonly classifier: number | undefined;
  readonly labels: readonly string[];
  readonly templates: readonly string[] | undefined;
}

/** The settings of a generation that reach the model. */
export interface GenerationPayload {
  readonly prefix: string | undefined;
  readonly maxTokens: number | undefined;
  readonly minTokens: number | undefined;
  readonly beams: number | undefined;
  readonly topK: number | undefined;
  readonly topP: number | undefined;
  readonly temperature: number | undefined;
  readonly seed: number | undefined;
}

/** Every method of the worker: what it takes, gives, and reports on the way. */
export interface Methods {
  chooseDevice: { params: { choice: DeviceChoice }; result: ChosenDevice; event: never };
  load: { params: LoadParams; result: ModelInfo; event: LoadProgress };
  classify: {
    params: { images: readonly ImagePayload[]; labels: LabelsPayload; topK: number | undefined };
    result: LabelScore[][];
    event: never;
  };
  /** `embeddings` are those of the frames, one after the other. */
  classifyVideo: {
    params: { embeddings: Float32Array; labels: LabelsPayload; topK: number | undefined };
    result: LabelScore[];
    event: never;
  };
  createClassifier: { params: { labels: LabelsPayload }; result: null; event: never };
  disposeClassifier: { params: { classifier: number }; result: null; event: never };
  caption: {
    params: { images: readonly ImagePayload[]; generation: GenerationPayload };
    result: Caption[];
    event: string;
  };
  answer: {
    params: {
      image: ImagePayload;
      question: string;
      choices: readonly string[] | undefined;
      maxTokens: number | undefined;
    };
    result: Answer;
    event: string;
  };
  explain: { params: { image: ImagePayload; text: string | undefined }; result: Explanation; event: never };
  embedImage: { params: { images: readonly ImagePayload[] }; result: Float32Array[]; event: never };
  embedText: { params: { texts: readonly string[] }; result: Float32Array[]; event: never };
}

export type MethodName = keyof Methods;
export type Params<M extends MethodName> = Methods[M]["params"];
export type Result<M extends MethodName> = Methods[M]["result"];
export type EventOf<M extends MethodName> = Methods[M]["event"];

/** What the page sends. */
export type HostMessage =
  // `events`: whether anybody listens to them. A message to the page costs as much as a token of a small model.
  | { readonly [M in MethodName]: { type: "call"; id: number; method: M; params: Params<M>; events: boolean } }[MethodName]
  | { readonly type: "abort"; readonly id: number };

/** What the worker sends. `fatal` is its last word: the runtime in it cannot be used any more. */
export type WorkerMessage =
  | { readonly type: "result"; readonly id: number; readonly value: unknown }
  | { readonly type: "error"; readonly id: number; readonly error: WireError }
  | { readonly type: "event"; readonly id: number; readonly event: unknown }
  | { readonly type: "log"; readonly level: LogLevel; readonly message: string }
  | { readonly type: "fatal"; readonly error: WireError };

export type LogLevel = "debug" | "info" | "warn" | "error";
