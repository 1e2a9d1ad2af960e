import { positive, templates, text, texts, whole } from "./arguments.js";
import { CaptionStream } from "./caption-stream.js";
import { Classifier } from "./classifier.js";
import { type CallExtras, Connection } from "./connection.js";
import { CocaError } from "./error.js";
import { folderAddress } from "./folder.js";
import { BlobKeys, imagePayload, transferList } from "./image.js";
import { startModel } from "./load.js";
import { deleteCachedModels, listCachedModels } from "./model-cache.js";
import type { ImagePayload, LabelsPayload, MethodName, Params, Result } from "./protocol.js";
import { support } from "./support.js";
import type {
  Answer,
  AnswerOptions,
  CallOptions,
  Caption,
  CaptionOptions,
  ClassifyOptions,
  ImageInput,
  LabelScore,
  LoadOptions,
  ModelInfo,
  ModelSource,
  ModelStore,
  Support,
  TemplateOptions,
} from "./types.js";

/**
 * A CoCa model in a worker of its own. Calls are queued and answered in order; one that fails does not affect the
 * others. Everything rejects with {@link CocaError}.
 */
export class CoCa {
  /** The model, its device and why it was chosen. */
  readonly info: ModelInfo;
  readonly #connection: Connection;
  readonly #blobKeys = new BlobKeys();

  private constructor(connection: Connection, info: ModelInfo) {
    this.#connection = connection;
    this.info = info;
  }

  static {
    // Engines without explicit resource management have no such symbol; there `dispose` is called by name.
    if (Symbol.asyncDispose) {
      Object.defineProperty(CoCa.prototype, Symbol.asyncDispose, { value: CoCa.prototype.dispose });
    }
  }

  /** The models that the browser keeps for loads without a download. */
  static readonly cache: ModelStore = {
    list: listCachedModels,
    delete: async (source) => deleteCachedModels(source === undefined ? undefined : folderAddress(String(source))),
  };

  /** Loads a model: the folder at an address, the given files, or without a source the small bundled model. */
  static async load(source?: ModelSource, options: LoadOptions = {}): Promise<CoCa> {
    const { connection, info } = await startModel(source, options);
    return new CoCa(connection, info);
  }

  /** What this browser can do. Never rejects. */
  static isSupported(): Promise<Support> {
    return support();
  }

  /** Which of the labels an image shows: labels with scores that sum to 1, best first. */
  classify(image: ImageInput, labels: readonly string[], options?: ClassifyOptions): Promise<LabelScore[]>;
  /** The same for each image. */
  classify(images: readonly ImageInput[], labels: readonly string[], options?: ClassifyOptions): Promise<LabelScore[][]>;
  async classify(
    images: ImageInput | readonly ImageInput[],
    labels: readonly string[],
    options: ClassifyOptions = {},
  ): Promise<LabelScore[] | LabelScore[][]> {
    return this.#classify(images, { labels: texts("labels", labels), templates: templates(options) }, options);
  }

  /** Computes the label embeddings once, for many images or the frames of a video. */
  async classifier(labels: readonly string[], options: TemplateOptions & CallOptions = {}): Promise<Classifier> {
    const params = { labels: texts("labels", labels), templates: templates(options) };
    const id = await this.#call("createClassifier", params, options);
    let disposed = false;
    return new Classifier([...labels], {
      classify: async (images, classifyOptions) => {
        if (disposed) throw new CocaError("disposed", "the classifier was disposed");
        return this.#classify(images, { classifier: id }, classifyOptions);
      },
      dispose: () => {
        if (disposed) return;
        disposed = true;
        // Nothing to report: if the model is gone, so is the classifier.
        this.#call("disposeClassifier", { classifier: id }, {}).catch(() => undefined);
      },
    });
  }

  /** Describes an image. */
  caption(image: ImageInput, options?: CaptionOptions): Promise<Caption>;
  /** Describes each image. */
  caption(images: readonly ImageInput[], options?: CaptionOptions): Promise<Caption[]>;
  async caption(
    images: ImageInput | readonly ImageInput[],
    options: CaptionOptions = {},
  ): Promise<Caption | Caption[]> {
    const generation = {
      prefix: options.prefix,
      maxTokens: whole("maxTokens", options.maxTokens, 1),
      beams: whole("beams", options.beams, 1),
      topK: whole("topK", options.topK, 1),
      topP: positive("topP", options.topP, 1),
      temperature: positive("temperature", options.temperature),
      seed: whole("seed", options.seed, 0),
    };
    return this.#forImages(images, options, (payloads, extras) =>
      this.#call("caption", { images: payloads, generation }, { ...extras, onEvent: options.onToken }),
    );
  }

  /** Describes an image piece by piece: `for await (const piece of model.captionStream(image))`. */
  captionStream(image: ImageInput, options: CaptionOptions = {}): CaptionStream {
    const controller = new AbortController();
    const abort = (): void => controller.abort(options.signal?.reason);
    if (options.signal?.aborted) abort();
    options.signal?.addEventListener("abort", abort);
    return new CaptionStream(async (onPiece) => {
      const onToken = (piece: string): void => {
        onPiece(piece);
        options.onToken?.(piece);
      };
      try {
        return await this.caption(image, { ...options, onToken, signal: controller.signal });
      } finally {
        options.signal?.removeEventListener("abort", abort);
      }
    }, abort);
  }

  /** Answers a question about an image, freely or with the most probable of `choices`. */
  async answer(image: ImageInput, question: string, options: AnswerOptions = {}): Promise<Answer> {
    text("question", question);
    const choices = options.choices === undefined ? undefined : texts("choices", options.choices);
    const maxTokens = whole("maxTokens", options.maxTokens, 1);
    const payload = await imagePayload(image, this.#blobKeys);
    return this.#call(
      "answer",
      { image: payload, question, choices, maxTokens },
      { signal: options.signal, transfer: transferList([payload]), onEvent: options.onToken },
    );
  }

  /** The image embedding: a vector of length 1, comparable with text embeddings by the dot product. */
  embedImage(image: ImageInput, options?: CallOptions): Promise<Float32Array>;
  /** The image embedding of each image. */
  embedImage(images: readonly ImageInput[], options?: CallOptions): Promise<Float32Array[]>;
  async embedImage(
    images: ImageInput | readonly ImageInput[],
    options: CallOptions = {},
  ): Promise<Float32Array | Float32Array[]> {
    return this.#forImages(images, options, (payloads, extras) =>
      this.#call("embedImage", { images: payloads }, extras),
    );
  }

  /** The text embedding of each text: vectors of length 1. */
  async embedText(list: readonly string[], options: CallOptions = {}): Promise<Float32Array[]> {
    return this.#call("embedText", { texts: texts("texts", list) }, options);
  }

  /** Stops the worker and frees all memory. Pending and later calls reject with code `disposed`. */
  async dispose(): Promise<void> {
    this.#connection.end(new CocaError("disposed", "the model was disposed"));
  }

  async #classify(
    images: ImageInput | readonly ImageInput[],
    labels: LabelsPayload,
    options: CallOptions & { topK?: number },
  ): Promise<LabelScore[] | LabelScore[][]> {
    const topK = whole("topK", options.topK, 1);
    return this.#forImages(images, options, (payloads, extras) =>
      this.#call("classify", { images: payloads, labels, topK }, extras),
    );
  }

  /** Sends one image or a list of them, and gives back one result or a list. */
  async #forImages<T>(
    images: ImageInput | readonly ImageInput[],
    options: CallOptions,
    send: (payloads: ImagePayload[], extras: { signal: AbortSignal | undefined; transfer: Transferable[] }) => Promise<T[]>,
  ): Promise<T | T[]> {
    const batch = isBatch(images);
    const payloads = await Promise.all((batch ? images : [images]).map((image) => imagePayload(image, this.#blobKeys)));
    const results = await send(payloads, { signal: options.signal, transfer: transferList(payloads) });
    if (batch) return results;
    const [result] = results;
    if (result === undefined) throw new CocaError("internal", "the worker gave no result for the image");
    return result;
  }

  #call<M extends MethodName>(method: M, params: Params<M>, extras: CallExtras<M>): Promise<Result<M>> {
    return this.#connection.call(method, params, extras);
  }
}

/** `await using model = await CoCa.load()`. */
export interface CoCa extends AsyncDisposable {}

function isBatch(images: ImageInput | readonly ImageInput[]): images is readonly ImageInput[] {
  return Array.isArray(images);
}
