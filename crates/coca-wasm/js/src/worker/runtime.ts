import { abortError, asCocaError, CocaError } from "../error.js";
import { openModelCache } from "../model-cache.js";
import type { ImagePayload, LabelsPayload, LoadParams, LogLevel, Params, Wasm } from "../protocol.js";
import { probeWebGpu } from "../support.js";
import type { Answer, Caption, Explanation, LabelScore, ModelInfo } from "../types.js";
import { chooseDevice } from "./choose-device.js";
import { compileWasm } from "./compile.js";
import { encodeImage, imageBytes } from "./encode-image.js";
import { HandleCache } from "./handle-cache.js";
import { macrotask } from "./macrotask.js";
import { ModelFiles } from "./model-files.js";
import type { Turn } from "./queue.js";
import type { Handlers, JobContext, Server } from "./server.js";
import { Clock, Stopwatch } from "./timing.js";
import type { EncodedImage, Glue, LabelEmbeddings, OnToken, Session, WasmDevice } from "./wasm.js";

/** So many sets of labels keep their embeddings without a classifier of their own. */
const CACHED_LABELS = 8;
/** So many image files stay encoded, for when one is classified, then described, then asked about. */
const CACHED_IMAGES = 4;
/** Between a GPU and the CPU in f32; a kernel that did not run is off by far more. */
const CHECK_TOLERANCE = 0.01;

/** The worker's methods over the Rust side. */
export class Runtime {
  readonly #glues: Readonly<Record<Wasm["kind"], Glue>>;
  readonly #server: Server;
  readonly #labels = new HandleCache<string, LabelEmbeddings>(CACHED_LABELS);
  readonly #images = new HandleCache<number, EncodedImage>(CACHED_IMAGES);
  readonly #classifiers = new Map<number, LabelEmbeddings>();
  #memory: WebAssembly.Memory | undefined;
  #loaded: Session | undefined;

  constructor(glues: Readonly<Record<Wasm["kind"], Glue>>, server: Server) {
    this.#glues = glues;
    this.#server = server;
  }

  /** For {@link serve}. */
  handlers(): Handlers {
    return {
      chooseDevice: ({ choice }) => chooseDevice(choice, probeWebGpu),
      load: (params, context) => this.#load(params, context),
      classify: (params, context) => this.#classify(params, context),
      classifyVideo: (params) => this.#classifyVideo(params),
      createClassifier: (params) => this.#createClassifier(params),
      disposeClassifier: ({ classifier }) => this.#disposeClassifier(classifier),
      caption: (params, context) => this.#caption(params, context),
      answer: (params, context) => this.#answer(params, context),
      explain: (params, context) => this.#explain(params, context),
      embedImage: ({ images }, context) =>
        this.#forImages(images, context, async (image) => this.#session.embed_image(image)),
      embedText: ({ texts }) => this.#embedText(texts),
    };
  }

  get #session(): Session {
    if (!this.#loaded) throw new CocaError("internal", "the model is not loaded");
    return this.#loaded;
  }

  async #load(params: LoadParams, { signal, emit }: JobContext<"load">): Promise<ModelInfo> {
    const { device: chosen, folder } = params;
    const clock = new Clock();
    const warn = (message: string): void => {
      if (params.logging) this.#server.log("warn", message);
    };
    const cache = params.cache ? await openModelCache() : undefined;
    // The device is checked while the small files are on their way.
    const [device, files] = await Promise.all([
      this.#start(params, signal).then(clock.lap("runtimeMs")),
      ModelFiles.open(folder, { signal, emit, cache, warn }),
    ]);
    const { CocaLoading } = this.#glues[params.wasm.kind];
    if (CocaLoading.needs_clip_merges(files.contents)) await files.addClipMerges(params.clipVocabulary);
    const loading = CocaLoading.begin(device, files.contents);
    let total: number;
    try {
      total = await files.readWeights(loading).then(clock.lap("downloadMs"));
    } catch (error) {
      loading.free();
      throw error;
    }

    clock.start();
    emit({ phase: "upload", loaded: 0, total });
    await macrotask();
    const session = loading.finish();
    this.#loaded = session;
    emit({ phase: "upload", loaded: total, total });
    clock.lap("uploadMs")(undefined);
    await files.keep();
    if (params.logging) this.#server.log("debug", `loaded; the runtime has ${this.#memory?.buffer.byteLength} bytes of memory`);

    clock.start();
    emit({ phase: "selftest", loaded: 0, total: 1 });
    const selfTestError = await session.self_test();
    emit({ phase: "selftest", loaded: 1, total: 1 });
    clock.lap("selfTestMs")(undefined);

    const { name, revision, dtype, parameters } = session.info();
    emit({ phase: "ready", loaded: 1, total: 1 });
    return {
      device: chosen.kind,
      reason: chosen.reason,
      ...(chosen.kind === "webgpu" ? { adapter: chosen.adapter } : {}),
      dtype,
      parameters,
      name: name ?? folderName(params),
      ...(revision === undefined ? {} : { revision }),
      ...(selfTestError === undefined ? {} : { selfTestError }),
      verified: files.verified,
      timings: clock.timings(),
    };
  }

  /** Compiles the wasm, routes what it has to say, and starts a device that computes what it should. */
  async #start({ wasm, logging, device: { kind } }: LoadParams, signal: AbortSignal): Promise<WasmDevice> {
    const glue = this.#glues[wasm.kind];
    const module = await compileWasm(wasm.url, signal);
    try {
      const { memory } = await glue.default({ module_or_path: module });
      this.#memory = memory;
    } catch (cause) {
      if (!(cause instanceof WebAssembly.LinkError)) throw cause;
      throw new CocaError(
        "worker-failed",
        `${wasm.url} is not the wasm that belongs to this version of the package; serve ` +
          `${wasm.kind === "cpu" ? "coca_cpu_bg.wasm or coca_cpu_relaxed_bg.wasm" : "coca_bg.wasm"} ` +
          `of the same version there (${cause.message})`,
        { cause },
      );
    }
    glue.install(
      (message) => this.#server.fatal(panicError(message)),
      (level, message) => {
        // The runtime goes on after a kernel that the browser refused, with whatever its output buffer held.
        if (isRefusedKernel(message)) this.#server.fatal(new CocaError("webgpu-failed", message));
        else if (logging) this.#server.log(logLevel(level), message);
      },
      (code, message) => this.#server.fatal(asCocaError({ code, message })),
      macrotask,
    );
    const device = await glue.CocaDevice.open(kind);
    const difference = await device.check();
    if (!(difference <= CHECK_TOLERANCE)) {
      throw new CocaError(
        "self-test-failed",
        `the GPU computes wrong numbers: a tiny model differs from the CPU's results by ${difference.toExponential(1)} ` +
          "of their size",
      );
    }
    return device;
  }

  async #classify(
    { images, labels, topK }: Params<"classify">,
    context: JobContext<"classify">,
  ): Promise<LabelScore[][]> {
    return this.#forImages(images, context, async (image) => {
      // For each image anew: between two of them other calls may have driven the embeddings out.
      const scores = await this.#session.classify(image, await this.#resolve(labels));
      return scores.slice(0, topK);
    });
  }

  async #classifyVideo({ embeddings, labels, topK }: Params<"classifyVideo">): Promise<LabelScore[]> {
    const resolved = await this.#resolve(labels);
    return this.#session.classify_video(embeddings, resolved).slice(0, topK);
  }

  async #resolve(labels: LabelsPayload): Promise<LabelEmbeddings> {
    const { classifier } = labels;
    const embed = (): Promise<LabelEmbeddings> =>
      this.#session.label_embeddings([...labels.labels], labels.templates && [...labels.templates]);
    if (classifier === undefined) return this.#labels.get(JSON.stringify([labels.labels, labels.templates]), embed);
    // One that is missing was made in a worker that has ended since.
    const kept = this.#classifiers.get(classifier) ?? (await embed());
    this.#classifiers.set(classifier, kept);
    return kept;
  }

  async #createClassifier({ labels }: Params<"createClassifier">): Promise<null> {
    await this.#resolve(labels);
    return null;
  }

  async #disposeClassifier(id: number): Promise<null> {
    this.#classifiers.get(id)?.free();
    this.#classifiers.delete(id);
    return null;
  }

  #caption({ images, generation }: Params<"caption">, context: JobContext<"caption">): Promise<Caption[]> {
    return this.#forImages(images, context, async (image, stopwatch) => {
      const onToken = listener(context, stopwatch);
      const { text, tokens, logProb } = await this.#session.caption(image, generation, onToken);
      return { caption: text, tokens, logProb, timings: stopwatch.timings() };
    });
  }

  async #answer(params: Params<"answer">, context: JobContext<"answer">): Promise<Answer> {
    const { image, question, choices, maxTokens } = params;
    const [answer] = await this.#forImages([image], context, async (encoded, stopwatch) => {
      const onToken = listener(context, stopwatch);
      const result = await this.#session.answer(encoded, question, choices && [...choices], maxTokens, onToken);
      return { ...result, timings: stopwatch.timings() };
    });
    if (!answer) throw new CocaError("internal", "no answer was made");
    return answer;
  }

  async #explain({ image, text }: Params<"explain">, { signal }: JobContext<"explain">): Promise<Explanation> {
    const goOn: OnToken = () => !signal.aborted;
    const explanation = await (image.kind === "pixels"
      ? this.#session.explain_rgba(image.width, image.height, new Uint8Array(image.rgba), text, goOn)
      : this.#session.explain(await imageBytes(image, signal), text, goOn));
    if (signal.aborted) throw abortError(signal);
    return explanation;
  }

  async #embedText(texts: readonly string[]): Promise<Float32Array[]> {
    const flat = await this.#session.embed_text([...texts]);
    const width = flat.length / texts.length;
    return texts.map((_, row) => flat.slice(row * width, (row + 1) * width));
  }

  /**
   * Takes one image after the other, so that only one is in memory. Between them other calls get their turn, and an
   * abort is seen.
   */
  async #forImages<T>(
    images: readonly ImagePayload[],
    { signal, turn }: { readonly signal: AbortSignal; readonly turn: Turn },
    work: (image: EncodedImage, stopwatch: Stopwatch) => Promise<T>,
  ): Promise<T[]> {
    const results: T[] = [];
    for (const payload of images) {
      if (results.length > 0) await turn();
      results.push(await this.#withEncoded(payload, signal, work));
      if (signal.aborted) throw abortError(signal);
    }
    return results;
  }

  async #withEncoded<T>(
    payload: ImagePayload,
    signal: AbortSignal,
    work: (image: EncodedImage, stopwatch: Stopwatch) => Promise<T>,
  ): Promise<T> {
    const stopwatch = new Stopwatch();
    const encode = (): Promise<EncodedImage> => encodeImage(this.#session, payload, signal);
    if (payload.kind === "encoded") return work(await this.#images.get(payload.key, encode), stopwatch);
    const image = await encode();
    try {
      return await work(image, stopwatch);
    } finally {
      image.free();
    }
  }
}

/** Passes the pieces of a text on, and stops it when the call is aborted. */
function listener(
  { signal, emit }: { readonly signal: AbortSignal; emit(piece: string): void },
  stopwatch: Stopwatch,
): OnToken {
  return (piece) => {
    if (signal.aborted) return false;
    if (piece === undefined) stopwatch.step();
    else if (piece !== "") emit(piece);
    return true;
  };
}

/** wgpu panics on errors that no call was waiting for; those are the GPU's, not a bug of ours. */
function panicError(message: string): CocaError {
  if (/device (was |is )?(lost|poisoned)|DevicePoison/i.test(message)) return new CocaError("device-lost", message);
  if (/wgpu error: Out of Memory/i.test(message)) return new CocaError("out-of-memory", message);
  if (/wgpu error/i.test(message)) return new CocaError("webgpu-failed", message);
  if (/memory allocation of|capacity overflow/.test(message)) return new CocaError("out-of-memory", message);
  return new CocaError("panic", `the runtime stopped on a bug; please report it: ${message}`);
}

function isRefusedKernel(message: string): boolean {
  return message.startsWith("[cubecl-wgpu] WGSL compilation failed") || message.startsWith("[cubecl-wgpu] the device refused");
}

function logLevel(level: string): LogLevel {
  return level === "error" || level === "warn" || level === "info" ? level : "debug";
}

function folderName({ folder }: LoadParams): string {
  if (folder.kind === "files") return "model";
  return new URL(folder.url).pathname.split("/").filter(Boolean).pop() ?? "model";
}

