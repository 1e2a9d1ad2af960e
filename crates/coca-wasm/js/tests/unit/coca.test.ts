import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { CoCa, CocaError, type LoadProgress, type ModelInfo } from "../../src/index.js";
import type { ChosenDevice, LoadParams } from "../../src/protocol.js";
import type { Handlers } from "../../src/worker/server.js";
import { FakeWorker, gate, settle } from "./support/fake-worker.js";

const IMAGE = new Blob(["image"]);
const INFO = { device: "cpu", reason: "test" } as unknown as ModelInfo;
const CPU: ChosenDevice = { kind: "cpu", reason: "no GPU" };
const GPU: ChosenDevice = { kind: "webgpu", reason: "there", adapter: { vendor: "v", architecture: "", device: "", description: "" } };
const CAPTION = { caption: "a cat", tokens: [1, 2], logProb: -1, timings: { firstTokenMs: 1, totalMs: 2, tokensPerSecond: 1000 } };

let workers: FakeWorker[];

beforeEach(() => {
  workers = [];
  vi.stubGlobal("Worker", FakeWorker);
  vi.stubGlobal("location", { href: "https://page.test/" });
});

afterEach(() => vi.unstubAllGlobals());

function worker(handlers: Partial<Handlers>): () => Worker {
  return () => {
    const fake = new FakeWorker({ chooseDevice: async () => CPU, load: async () => INFO, ...handlers });
    workers.push(fake);
    return fake as unknown as Worker;
  };
}

const load = (handlers: Partial<Handlers>): Promise<CoCa> => CoCa.load("/model", { worker: worker(handlers) });

describe("CoCa.load", () => {
  it("gives the worker absolute addresses and passes progress on", async () => {
    const seen: LoadParams[] = [];
    const progress: LoadProgress[] = [];
    const model = await CoCa.load("models/tiny?key=1", {
      worker: worker({
        load: async (params, { emit }) => {
          seen.push(params);
          emit({ phase: "ready", loaded: 1, total: 1 });
          return INFO;
        },
      }),
      wasmUrl: "runtime.wasm",
      onProgress: (step) => progress.push(step),
    });
    expect(seen[0]?.folder).toEqual({ kind: "address", url: "https://page.test/models/tiny/?key=1" });
    expect(seen[0]?.wasm).toEqual({ kind: "full", url: "https://page.test/runtime.wasm" });
    expect(progress).toEqual([{ phase: "ready", loaded: 1, total: 1 }]);
    expect(model.info).toEqual(INFO);
  });

  it("loads the wasm of the device that was chosen", async () => {
    const seen: unknown[] = [];
    const own = { cpu: "c.wasm", webgpu: new URL("https://a.test/g.wasm") };
    for (const relaxed of [true, false]) {
      const validate = vi.spyOn(WebAssembly, "validate").mockImplementation((bytes) => {
        // Only of the modules that ask for a feature, one holds a fused product.
        const isRelaxed = [...(bytes as Uint8Array)].some((byte, at, all) => byte === 0xfd && all[at + 1] === 0x85 && all[at + 2] === 0x02);
        return relaxed || !isRelaxed;
      });
      for (const device of [CPU, GPU]) {
        const chosen = worker({ chooseDevice: async () => device, load: async ({ wasm }) => (seen.push(wasm), INFO) });
        for (const options of [{}, { wasmUrl: own }, { wasmUrl: { ...own, cpuRelaxed: "r.wasm" } }]) {
          await CoCa.load("/m", { worker: chosen, ...options });
        }
      }
      validate.mockRestore();
    }
    const gpu = [
      { kind: "full", url: expect.stringMatching(/\/coca_bg\.wasm$/) },
      { kind: "full", url: "https://a.test/g.wasm" },
      { kind: "full", url: "https://a.test/g.wasm" },
    ];
    expect(seen).toEqual([
      { kind: "cpu", url: expect.stringMatching(/\/coca_cpu_relaxed_bg\.wasm$/) },
      { kind: "cpu", url: "https://page.test/c.wasm" },
      { kind: "cpu", url: "https://page.test/r.wasm" },
      ...gpu,
      { kind: "cpu", url: expect.stringMatching(/\/coca_cpu_bg\.wasm$/) },
      { kind: "cpu", url: "https://page.test/c.wasm" },
      { kind: "cpu", url: "https://page.test/c.wasm" },
      ...gpu,
    ]);
  });

  it("takes the bundled model without a source", async () => {
    let files: unknown;
    await CoCa.load(undefined, {
      worker: worker({
        load: async ({ folder }) => {
          files = folder.kind === "files" ? Object.keys(folder.files) : undefined;
          return INFO;
        },
      }),
    });
    expect(files).toContain("open_clip_config.json");
  });

  it("takes files, and refuses a source without any or one that is a file's address", async () => {
    const file = new File(["{}"], "open_clip_config.json");
    await CoCa.load([file], { worker: worker({}) });
    await CoCa.load({ "open_clip_config.json": new Uint8Array([1]) }, { worker: worker({}) });
    await expect(CoCa.load([], { worker: worker({}) })).rejects.toMatchObject({ code: "invalid-argument" });
    const url = "https://a.test/open_clip_model.safetensors";
    await expect(CoCa.load(url, { worker: worker({}) })).rejects.toMatchObject({ code: "invalid-argument" });
  });

  it("falls back to the CPU in a new worker when the GPU fails with `auto`", async () => {
    const loads: ChosenDevice[] = [];
    const model = await load({
      chooseDevice: async () => GPU,
      load: async ({ device }) => {
        loads.push(device);
        if (device.kind === "webgpu") throw new CocaError("self-test-failed", "0.3 away");
        return { ...INFO, reason: device.reason };
      },
    });
    expect(loads.map(({ kind }) => kind)).toEqual(["webgpu", "cpu"]);
    expect(model.info.reason).toContain("0.3 away");
    expect(workers.map(({ terminated }) => terminated)).toEqual([true, false]);
  });

  it("does not fall back for failures that are not the GPU's, or when WebGPU was asked for", async () => {
    const failing = (code: "not-found" | "self-test-failed") =>
      worker({ chooseDevice: async () => GPU, load: () => Promise.reject(new CocaError(code, "no")) });
    await expect(CoCa.load("/m", { worker: failing("not-found") })).rejects.toMatchObject({ code: "not-found" });
    const options = { device: "webgpu", worker: failing("self-test-failed") } as const;
    await expect(CoCa.load("/m", options)).rejects.toMatchObject({ code: "self-test-failed" });
    expect(workers.map(({ terminated }) => terminated)).toEqual([true, true]);
  });

  it("stops the worker when loading is aborted", async () => {
    const controller = new AbortController();
    const loading = CoCa.load("/m", {
      signal: controller.signal,
      worker: worker({
        load: () => {
          controller.abort();
          return new Promise(() => undefined);
        },
      }),
    });
    await expect(loading).rejects.toMatchObject({ code: "aborted" });
    expect(workers[0]?.terminated).toBe(true);
  });

  it("rejects where there are no workers", async () => {
    vi.stubGlobal("Worker", undefined);
    await expect(CoCa.load()).rejects.toMatchObject({ code: "unsupported" });
    expect(await CoCa.isSupported()).toMatchObject({ webgpu: false, cpu: false, features: [], limits: {} });
  });

  it("explains a worker that cannot be started", async () => {
    const refusing = (): Worker => {
      throw new DOMException("policy", "SecurityError");
    };
    await expect(CoCa.load("/m", { worker: refusing })).rejects.toMatchObject({ code: "worker-failed" });
  });
});

describe("CoCa", () => {
  it("gives one result for one image and a list for a list", async () => {
    const model = await load({
      classify: async ({ images }) => images.map(() => [{ label: "cat", score: 1 }]),
      embedImage: async ({ images }) => images.map((_, index) => Float32Array.of(index)),
    });
    expect(await model.classify(IMAGE, ["cat"])).toEqual([{ label: "cat", score: 1 }]);
    expect(await model.classify([IMAGE, IMAGE], ["cat"])).toHaveLength(2);
    expect(await model.embedImage(IMAGE)).toEqual(Float32Array.of(0));
    expect(await model.embedImage([IMAGE, IMAGE])).toEqual([Float32Array.of(0), Float32Array.of(1)]);
    expect(await model.embedImage([])).toEqual([]);
  });

  it("names wrong arguments", async () => {
    const model = await load({});
    const calls: Promise<unknown>[] = [
      model.classify(IMAGE, []),
      model.classify(IMAGE, ["a", ""]),
      model.classify(IMAGE, ["a"], { template: "a photo" }),
      model.classify(IMAGE, ["a"], { template: "{}", templates: ["{}"] }),
      model.classify(IMAGE, ["a"], { topK: 0 }),
      model.caption(IMAGE, { maxTokens: 1.5 }),
      model.caption(IMAGE, { topP: 1.1 }),
      model.caption(IMAGE, { temperature: 0 }),
      model.caption(IMAGE, { seed: -1 }),
      model.answer(IMAGE, "  "),
      model.answer(IMAGE, "what?", { choices: [] }),
      model.embedText([]),
      model.embedText("a cat" as unknown as string[]),
      model.embedImage(7 as unknown as Blob),
    ];
    for (const call of calls) await expect(call).rejects.toMatchObject({ code: "invalid-argument" });
  });

  it("keeps a classifier until it is disposed", async () => {
    const disposed: number[] = [];
    const model = await load({
      createClassifier: async () => null,
      classify: async ({ labels }) => [[{ label: JSON.stringify(labels), score: 1 }]],
      disposeClassifier: async ({ classifier }) => {
        disposed.push(classifier);
        return null;
      },
    });
    const classifier = await model.classifier(["cat", "dog"]);
    expect(classifier.labels).toEqual(["cat", "dog"]);
    const label = '{"classifier":0,"labels":["cat","dog"]}';
    expect(await classifier.classify(IMAGE)).toEqual([{ label, score: 1 }]);
    classifier.dispose();
    classifier.dispose();
    await expect(classifier.classify(IMAGE)).rejects.toMatchObject({ code: "disposed" });
    await settle();
    expect(disposed).toEqual([0]);
    await expect(model.classifyVideo([IMAGE], classifier)).rejects.toMatchObject({ code: "disposed" });
  });

  it("gives the cosine of each image with each text", async () => {
    const model = await load({
      embedImage: async ({ images }) => images.map((_, index) => (index === 0 ? Float32Array.of(1, 0) : Float32Array.of(0.6, 0.8))),
      embedText: async ({ texts }) => texts.map(() => Float32Array.of(0, 1)),
    });
    const rows = await model.similarity([IMAGE, IMAGE], ["a", "b", "c"]);
    expect(rows).toEqual([Float32Array.of(0, 0, 0), Float32Array.of(0.8, 0.8, 0.8)]);
    await expect(model.similarity(IMAGE as never, ["a"])).rejects.toMatchObject({ code: "invalid-argument" });
    await expect(model.similarity([IMAGE], [])).rejects.toMatchObject({ code: "invalid-argument" });
  });

  it("explains a given text, or the one it writes", async () => {
    const texts: unknown[] = [];
    const explanation = {
      text: "a cat",
      logProb: -1,
      words: [{ text: "a", heat: Float32Array.of(1) }],
      columns: 1,
      rows: 1,
      region: { x: 0, y: 0, width: 1, height: 1 },
    };
    const model = await load({
      explain: async ({ text }) => {
        texts.push(text);
        return explanation;
      },
    });
    expect(await model.explain(IMAGE)).toEqual(explanation);
    await model.explain(new Uint8Array([1]), "a cat");
    expect(texts).toEqual([undefined, "a cat"]);
    await expect(model.explain(IMAGE, " ")).rejects.toMatchObject({ code: "invalid-argument" });
  });

  it("classifies a video by frames that are evenly spaced", async () => {
    const images: string[] = [];
    let flat: Float32Array | undefined;
    const model = await load({
      embedImage: async ({ images: [image] }) => {
        images.push(image?.kind === "url" ? image.url.slice(-1) : "?");
        return [Float32Array.of(images.length, 0)];
      },
      classifyVideo: async ({ embeddings, topK }) => {
        flat = embeddings;
        return [{ label: String(topK), score: 1 }];
      },
    });
    const frames: number[] = [];
    const video = [..."abcdefgh"].map((name) => `https://page.test/${name}`);
    const scores = await model.classifyVideo(video, ["x", "y"], {
      frames: 4,
      topK: 1,
      onFrame: ({ index, frames: total, time }) => frames.push(index, total, time ?? -1),
    });
    expect(scores).toEqual([{ label: "1", score: 1 }]);
    expect(images).toEqual(["b", "d", "f", "h"]);
    expect(flat).toEqual(Float32Array.of(1, 0, 2, 0, 3, 0, 4, 0));
    expect(frames.slice(0, 6)).toEqual([0, 4, -1, 1, 4, -1]);
    const refused: Promise<unknown>[] = [
      model.classifyVideo([], ["x"]),
      model.classifyVideo(video, []),
      model.classifyVideo(video, ["x"], { frames: 0 }),
      // There is no <video> here.
      model.classifyVideo("movie.mp4", ["x"]),
    ];
    for (const call of refused) await expect(call).rejects.toMatchObject({ code: "invalid-argument" });
  });

  it("streams a caption and gives the whole at the end", async () => {
    const model = await load({
      caption: async (_, { emit }) => {
        for (const piece of ["a", " ca", "t"]) emit(piece);
        return [CAPTION];
      },
    });
    const stream = model.captionStream(IMAGE);
    const pieces: string[] = [];
    for await (const piece of stream) pieces.push(piece);
    expect(pieces).toEqual(["a", " ca", "t"]);
    expect(await stream.result).toEqual(CAPTION);
  });

  it("stops generating when the loop is left, or the signal aborted", async () => {
    const stopped = gate();
    let jobs = 0;
    const model = await load({
      caption: async (_, { emit, signal }) => {
        jobs++;
        while (!signal.aborted) {
          emit("more");
          await new Promise((resolve) => setTimeout(resolve, 1));
        }
        stopped.open();
        return [CAPTION];
      },
    });
    const stream = model.captionStream(IMAGE);
    for await (const piece of stream) {
      expect(piece).toBe("more");
      break;
    }
    await expect(stream.result).rejects.toMatchObject({ code: "aborted" });
    await stopped.opened;

    const controller = new AbortController();
    const aborted = model.captionStream(IMAGE, { signal: controller.signal });
    const drain = async (): Promise<void> => {
      for await (const piece of aborted) {
        expect(piece).toBe("more");
        controller.abort();
      }
    };
    await expect(drain()).rejects.toMatchObject({ code: "aborted" });
    expect(jobs).toBe(2);
  });

  it("throws a failure at whoever iterates", async () => {
    const model = await load({ caption: () => Promise.reject(new CocaError("image-decode", "bad")) });
    const drain = async (): Promise<void> => {
      for await (const piece of model.captionStream(IMAGE)) expect(piece).toBe("never");
    };
    await expect(drain()).rejects.toMatchObject({ code: "image-decode" });
  });

  it("can be disposed twice, rejects what is pending, and then everything", async () => {
    const model = await load({ embedText: () => new Promise(() => undefined) });
    const pending = model.embedText(["a"]);
    await model.dispose();
    await model.dispose();
    await expect(pending).rejects.toMatchObject({ code: "disposed" });
    await expect(model.embedText(["a"])).rejects.toMatchObject({ code: "disposed", name: "CocaError" });
    await expect(model.embedText(["a"])).rejects.toBeInstanceOf(CocaError);
    expect(workers[0]?.terminated).toBe(true);
  });

  it.skipIf(!Symbol.asyncDispose)("can be disposed by `await using`", async () => {
    const model = await load({});
    await model[Symbol.asyncDispose]();
    await expect(model.embedText(["a"])).rejects.toMatchObject({ code: "disposed" });
  });
});
