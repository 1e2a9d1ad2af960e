/**
 * What the Rust side exports, as `src/` of this crate defines it. Written by hand so that the TypeScript can be checked
 * without compiling Rust first; `scripts/build.mjs` checks it against the generated declarations.
 *
 * Everything throws plain `{ code, message }` objects.
 */
import type { ChoiceScore, Explanation, LabelScore } from "../types.js";
import type { WeightsSink } from "./model-files.js";

/** The generated module. */
export interface Glue {
  readonly default: (input: { module_or_path: WebAssembly.Module }) => Promise<{ readonly memory: WebAssembly.Memory }>;
  /** Must be called once, before anything else. */
  readonly install: (
    onPanic: (message: string) => void,
    onLog: (level: string, message: string) => void,
    onFailure: (code: string, message: string) => void,
    macrotask: () => Promise<void>,
  ) => void;
  readonly CocaDevice: { open(kind: string): Promise<WasmDevice> };
  /** Begins with the small files of a model folder, and empties the map. */
  readonly CocaLoading: {
    begin(device: WasmDevice, files: Map<string, Uint8Array>): Loading;
    /** Whether these files have to be joined by the merges of CLIP's vocabulary. */
    needs_clip_merges(files: Map<string, Uint8Array>): boolean;
  };
}

/** A model whose weights arrive in pieces. */
export interface Loading extends WeightsSink {
  /** The loaded model; the last call. */
  finish(): Session;
  free(): void;
}

/** A started device. */
export interface WasmDevice {
  /** The largest relative difference of a tiny model's results to those of the CPU. */
  check(): Promise<number>;
  free(): void;
}

/** A model on a device. */
export interface Session {
  info(): SessionInfo;
  /** The largest distance to the stored results, or `undefined` when none are stored. */
  self_test(): Promise<number | undefined>;
  /** Decodes, prepares and encodes an image file. */
  encode(bytes: Uint8Array): Promise<EncodedImage>;
  /** Prepares and encodes straight RGBA pixels, 4 bytes each. */
  encode_rgba(width: number, height: number, rgba: Uint8Array): Promise<EncodedImage>;
  label_embeddings(labels: string[], templates?: string[]): Promise<LabelEmbeddings>;
  /** Best first. */
  classify(image: EncodedImage, labels: LabelEmbeddings): Promise<LabelScore[]>;
  caption(image: EncodedImage, settings: GenerationSettings, onToken: OnToken): Promise<GeneratedText>;
  answer(
    image: EncodedImage,
    question: string,
    choices: string[] | undefined,
    maxTokens: number | undefined,
    onToken: OnToken,
  ): Promise<AnswerText>;
  /** Best first, for the image embeddings of frames, one after the other. */
  classify_video(frames: Float32Array, labels: LabelEmbeddings): LabelScore[];
  explain(bytes: Uint8Array, text: string | undefined, onToken: OnToken): Promise<Explanation>;
  explain_rgba(
    width: number,
    height: number,
    rgba: Uint8Array,
    text: string | undefined,
    onToken: OnToken,
  ): Promise<Explanation>;
  embed_image(image: EncodedImage): Float32Array;
  /** One row for each text, one after the other. */
  embed_text(texts: string[]): Promise<Float32Array>;
  free(): void;
}

export interface SessionInfo {
  readonly name: string | undefined;
  readonly revision: string | undefined;
  readonly dtype: string;
  readonly parameters: number;
}

/** An image after the image encoder, on the device until freed. */
export interface EncodedImage {
  free(): void;
}

/** A zero-shot classifier, in memory until freed. */
export interface LabelEmbeddings {
  free(): void;
}

/** Called with each piece of the text, and without one after each step of the decoder; says whether to go on. */
export type OnToken = (piece?: string) => boolean;

export interface GenerationSettings {
  readonly prefix: string | undefined;
  readonly maxTokens: number | undefined;
  readonly minTokens: number | undefined;
  readonly beams: number | undefined;
  readonly topK: number | undefined;
  readonly topP: number | undefined;
  readonly temperature: number | undefined;
  readonly seed: number | undefined;
}

export interface GeneratedText {
  readonly text: string;
  readonly tokens: number[];
  readonly logProb: number;
}

export interface AnswerText {
  readonly answer: string;
  readonly logProb: number;
  readonly choices?: ChoiceScore[];
}
