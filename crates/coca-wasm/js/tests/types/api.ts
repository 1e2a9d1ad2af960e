/** Compiled, never run: the public types as a user meets them. */
import { CoCa, CocaError } from "../../src/index.js";
import type {
  Answer,
  Caption,
  CaptionStream,
  ChoiceScore,
  Classifier,
  CocaErrorCode,
  ExplainedWord,
  Explanation,
  ImageIndex,
  ImageInput,
  LabelScore,
  ModelInfo,
  SearchHit,
  Support,
} from "../../src/index.js";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function is<A, B>(_equal: Equal<A, B>): void {}

declare const blob: Blob;
declare const image: ImageInput;

export async function everyCall(): Promise<void> {
  const controller = new AbortController();
  const { signal } = controller;
  await using model = await CoCa.load("https://example.org/model/", {
    device: "auto",
    onProgress: ({ phase, file, loaded, total }) => {
      is<typeof total, number | undefined>(true);
      is<typeof file, string | undefined>(true);
      return phase === "ready" && loaded > 0;
    },
    signal,
    logger: console,
    wasmUrl: new URL("https://example.org/coca_bg.wasm"),
    onRecover: (error) => is<typeof error, CocaError>(true),
    worker: () => new Worker("worker.js"),
  });
  await CoCa.load();
  await CoCa.load({ "open_clip_config.json": blob }, { wasmUrl: { cpu: "cpu.wasm", webgpu: new URL("https://a.test/gpu.wasm") } });

  is<ModelInfo, typeof model.info>(true);
  const labels = await model.classify(image, ["a cat", "a dog"], { template: "a photo of a {}", topK: 1, signal });
  is<typeof labels, LabelScore[]>(true);
  const batch = await model.classify([image, image], ["a cat"] as const);
  is<typeof batch, LabelScore[][]>(true);

  const { caption, logProb } = await model.caption(image, { prefix: "a", maxTokens: 20, beams: 3, signal });
  is<typeof caption, string>(true);
  is<typeof logProb, number>(true);
  const captions = await model.caption([image], { topK: 5, topP: 0.9, temperature: 0.7, seed: 1, onToken: (piece: string) => piece });
  is<typeof captions, Caption[]>(true);

  const stream = model.captionStream(image);
  is<typeof stream, CaptionStream>(true);
  for await (const piece of stream) is<typeof piece, string>(true);

  const answer = await model.answer(image, "what colour is it?", { choices: ["red", "blue"], signal });
  is<typeof answer, Answer>(true);
  is<typeof answer.choices, readonly ChoiceScore[] | undefined>(true);

  const vector = await model.embedImage(image, { signal });
  is<typeof vector, Float32Array>(true);
  const [text] = await model.embedText(["a cat"]);
  is<typeof text, Float32Array | undefined>(true);

  const zeroShot = await model.classifier(["cat", "dog"], { templates: ["a {}", "the {}"] });
  is<typeof zeroShot, Classifier>(true);
  is<LabelScore[], Awaited<ReturnType<typeof once>>>(true);
  async function once() {
    return zeroShot.classify(image, { topK: 1 });
  }

  const explanation = await model.explain(image, "a cat", { signal });
  is<typeof explanation, Explanation>(true);
  is<(typeof explanation.words)[number], ExplainedWord>(true);
  is<ExplainedWord["heat"], Float32Array>(true);
  is<Explanation, Awaited<ReturnType<typeof caption_>>>(true);
  async function caption_() {
    return model.explain(image);
  }

  const cosines = await model.similarity([image], ["a cat"], { signal });
  is<typeof cosines, Float32Array[]>(true);

  const ofVideo = await model.classifyVideo(document.createElement("video"), ["a cat"], {
    frames: 8,
    template: "a video of a {}",
    topK: 1,
    signal,
    onFrame: ({ index, frames, time }) => is<[typeof index, typeof frames, typeof time], [number, number, number | undefined]>(true),
  });
  is<typeof ofVideo, LabelScore[]>(true);
  await model.classifyVideo([image, blob], zeroShot, { frames: 4, signal });

  const index = model.imageIndex();
  is<typeof index, ImageIndex>(true);
  const id = await index.add(image, { id: "first", signal });
  is<typeof id, string | number>(true);
  is<boolean, ReturnType<typeof index.remove>>(true);
  is<number, typeof index.size>(true);
  const hits = await index.search("a red car", { topK: 3, signal });
  is<typeof hits, SearchHit[]>(true);
  await index.search(blob);
  is<ImageIndex, ReturnType<typeof model.imageIndex>>(true);
  model.imageIndex(index.export());

  is<Support, Awaited<ReturnType<typeof CoCa.isSupported>>>(true);
  await model.dispose();
}

export function everyImage(model: CoCa, sources: {
  file: File;
  img: HTMLImageElement;
  canvas: HTMLCanvasElement;
  offscreen: OffscreenCanvas;
  bitmap: ImageBitmap;
  data: ImageData;
  frame: VideoFrame;
  video: HTMLVideoElement;
}): Promise<Float32Array[]> {
  return model.embedImage([blob, "cat.jpg", new Uint8Array(1), new ArrayBuffer(1), new URL("https://example.org/cat.jpg"), ...Object.values(sources)]);
}

export function everyMistake(model: CoCa): void {
  // @ts-expect-error a model is made by `load`
  new CoCa();
  // @ts-expect-error there is no such device
  void CoCa.load(undefined, { device: "gpu" });
  // @ts-expect-error a number is not an image
  void model.caption(7);
  // @ts-expect-error labels are a list
  void model.classify(image, "a cat");
  // @ts-expect-error a classifier has its templates
  void model.classifyVideo([], {} as Classifier, { template: "a {}" });
  // @ts-expect-error a question is needed
  void model.answer(image);
}

export function everyCode(error: CocaError): string {
  is<typeof error.code, CocaErrorCode>(true);
  // @ts-expect-error there is no such code
  return error.code === "nonsense" ? "" : error.message;
}
