import { positive, templates, text as visible, texts, whole } from "./arguments.js";
import { CaptionStream } from "./caption-stream.js";
import { Classifier } from "./classifier.js";
import { dot } from "./dot.js";
import type { CallExtras } from "./connection.js";
import { CocaError } from "./error.js";
import { folderAddress } from "./folder.js";
import { ModelHost } from "./host.js";
import { BlobKeys, imagePayload, transferList } from "./image.js";
import { ImageIndex } from "./image-index.js";
import { deleteCachedModels, listCachedModels } from "./model-cache.js";
import type { ImagePayload, LabelsPayload, MethodName, Params, Result } from "./protocol.js";
import { support } from "./support.js";
import type {
  Answer,
  AnswerOptions,
  CallOptions,
  Caption,
  CaptionOptions,
  ClassifierVideoOptions,
  ClassifyOptions,
  Explanation,
  ImageInput,
  LabelScore,
  LoadOptions,
  ModelInfo,
  ModelSource,
  ModelStore,
  Support,
  TemplateOptions,
  VideoInput,
  VideoOptions,
} from "./types.js";
import { eachFrame } from "./video.js";

/** Frames of a video, as in the paper. */
const VIDEO_FRAMES = 16;

/**
 * A CoCa model in a worker of its own. Calls are queued and answered in order; one that fails does not affect the
 * others. Everything rejects with {@link CocaError}.
 */
export class CoCa {
  readonly #host: ModelHost;
  readonly #blobKeys = new BlobKeys();
  /** The labels of each classifier, by which `classifyVideo` recognises it. */
  readonly #classifiers = new WeakMap<Classifier, LabelsPayload>();
  #nextClassifier = 0;

  private constructor(host: ModelHost) {
    this.#host = host;
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
    return new CoCa(await ModelHost.start(source, options));
  }

  /** What this browser can do. Never rejects. */
  static isSupported(): Promise<Support> {
    return support();
  }

  /** The model, its device and why it was chosen. It changes when a GPU that failed is replaced; see `onRecover`. */
  get info(): ModelInfo {
    return this.#host.info;
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
    return this.#classify(images, labelsPayload(labels, options), options);
  }

  /** Computes the label embeddings once, for many images or the frames of a video. */
  async classifier(labels: readonly string[], options: TemplateOptions & CallOptions = {}): Promise<Classifier> {
    const payload = { ...labelsPayload(labels, options), classifier: this.#nextClassifier++ };
    await this.#call("createClassifier", { labels: payload }, options);
    let disposed = false;
    const classifier = new Classifier([...labels], {
      classify: async (images, classifyOptions) => {
        if (disposed) throw new CocaError("disposed", "the classifier was disposed");
        return this.#classify(images, payload, classifyOptions);
      },
      dispose: () => {
        if (disposed) return;
        disposed = true;
        this.#classifiers.delete(classifier);
        // Nothing to report: if the model is gone, so is the classifier.
        this.#call("disposeClassifier", { classifier: payload.classifier }, {}).catch(() => undefined);
      },
    });
    this.#classifiers.set(classifier, payload);
    return classifier;
  }

  /**
   * Which of the labels a video shows, by the mean embedding of frames that are evenly spaced over it: labels with
   * scores that sum to 1, best first. A `<video>` of the page is paused and sought, and left as it was found.
   */
  classifyVideo(video: VideoInput, labels: readonly string[], options?: VideoOptions): Promise<LabelScore[]>;
  /** The same with a classifier of this model. */
  classifyVideo(video: VideoInput, classifier: Classifier, options?: ClassifierVideoOptions): Promise<LabelScore[]>;
  async classifyVideo(
    video: VideoInput,
    labels: readonly string[] | Classifier,
    options: VideoOptions = {},
  ): Promise<LabelScore[]> {
    const { signal, onFrame } = options;
    const topK = whole("topK", options.topK, 1);
    const count = whole("frames", options.frames, 1) ?? VIDEO_FRAMES;
    let payload: LabelsPayload | undefined;
    if (labels instanceof Classifier) payload = this.#classifiers.get(labels);
    else payload = labelsPayload(labels, options);
    if (!payload) throw new CocaError("disposed", "the classifier was disposed, or is not of this model");
    const embeddings: Float32Array[] = [];
    await eachFrame(video, count, signal, async (image, frame) => {
      embeddings.push(await this.embedImage(image, { ...(signal ? { signal } : {}) }));
      onFrame?.(frame);
    });
    const width = embeddings[0]?.length ?? 0;
    const flat = new Float32Array(width * embeddings.length);
    embeddings.forEach((embedding, index) => flat.set(embedding, width * index));
    return this.#call("classifyVideo", { embeddings: flat, labels: payload, topK }, { signal });
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
      minTokens: whole("minTokens", options.minTokens, 0),
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
    visible("question", question);
    const choices = options.choices === undefined ? undefined : texts("choices", options.choices);
    const maxTokens = whole("maxTokens", options.maxTokens, 1);
    const payload = await imagePayload(image, this.#blobKeys);
    return this.#call(
      "answer",
      { image: payload, question, choices, maxTokens },
      { signal: options.signal, transfer: transferList([payload]), onEvent: options.onToken },
    );
  }

  /**
   * Shows where the model looks: for each word of `text`, or of the caption that it writes, a heat map over the picture.
   * It is the attention with which the word is predicted, followed through the attentional pooler to the patches.
   */
  async explain(image: ImageInput, text?: string, options: CallOptions = {}): Promise<Explanation> {
    if (text !== undefined) visible("text", text);
    const payload = await imagePayload(image, this.#blobKeys);
    return this.#call(
      "explain",
      { image: payload, text },
      { signal: options.signal, transfer: transferList([payload]) },
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

  /** How alike images and texts are: for each image the cosine with each text, -1 to 1. */
  async similarity(
    images: readonly ImageInput[],
    list: readonly string[],
    options: CallOptions = {},
  ): Promise<Float32Array[]> {
    texts("texts", list);
    if (!isBatch(images)) throw new CocaError("invalid-argument", "images must be a list");
    const [ofImages, ofTexts] = await Promise.all([this.embedImage(images, options), this.embedText(list, options)]);
    return ofImages.map((image) => Float32Array.from(ofTexts, (text) => dot(image, text)));
  }

  /**
   * An index of images to be searched by text or by image, empty or as an index of the same model was exported.
   * It lives on the page: only embeddings are kept, never the images.
   */
  imageIndex(exported?: Uint8Array): ImageIndex {
    const owner = {
      info: () => this.info,
      embedImage: (image: ImageInput, options: CallOptions) => this.embedImage(image, options),
      embedText: async (query: string, options: CallOptions) => {
        const [embedding] = await this.embedText([query], options);
        if (!embedding) throw new CocaError("internal", "the worker gave no result for the text");
        return embedding;
      },
    };
    return new ImageIndex(owner, exported);
  }

  /** Stops the worker and frees all memory. Pending and later calls reject with code `disposed`. */
  async dispose(): Promise<void> {
    this.#host.end(new CocaError("disposed", "the model was disposed"));
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
    return this.#host.call(method, params, extras);
  }
}

/** `await using model = await CoCa.load()`. */
export interface CoCa extends AsyncDisposable {}

function labelsPayload(labels: readonly string[], options: TemplateOptions): LabelsPayload {
  return { classifier: undefined, labels: texts("labels", labels), templates: templates(options) };
}

function isBatch(images: ImageInput | readonly ImageInput[]): images is readonly ImageInput[] {
  return Array.isArray(images);
}
