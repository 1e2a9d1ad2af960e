import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Connection } from "../../src/connection.js";
import type { LoadParams, WorkerMessage } from "../../src/protocol.js";
import type { LoadProgress } from "../../src/types.js";
import { Runtime } from "../../src/worker/runtime.js";
import type { Handlers, Server } from "../../src/worker/server.js";
import type { GenerationSettings, Glue, OnToken, Session } from "../../src/worker/wasm.js";
import { FakeWorker, workerLike } from "./support/fake-worker.js";

const WEIGHTS = "\x02\0\0\0\0\0\0\0{}";
const PARAMS: LoadParams = {
  folder: {
    kind: "files",
    files: { "open_clip_config.json": new Blob(["{}"]), "open_clip_model.safetensors": new Blob([WEIGHTS]) },
  },
  wasm: { kind: "cpu", url: "https://page.test/coca_cpu_bg.wasm" },
  clipVocabulary: "https://page.test/clip_vocabulary.bin",
  device: { kind: "cpu", reason: "a test" },
  logging: false,
  cache: true,
};
const IMAGE = { kind: "pixels", width: 1, height: 1, rgba: new ArrayBuffer(4) } as const;
const file = (key: number) => ({ kind: "encoded", blob: new Blob(["image"]), key }) as const;
const GENERATION: GenerationSettings = {
  prefix: undefined,
  maxTokens: undefined,
  minTokens: undefined,
  beams: undefined,
  topK: undefined,
  topP: undefined,
  temperature: undefined,
  seed: undefined,
};

/** Stands in for the Rust side, and counts what is allocated and freed. */
class FakeSession implements Session {
  images = 0;
  encoded = 0;
  labelEmbeddings = 0;
  embedded = 0;
  onText: (onToken: OnToken) => Promise<string[]> = async () => [];

  info() {
    return { dtype: "f32", parameters: 12, name: "tiny", revision: undefined };
  }
  async self_test() {
    return 0.001;
  }
  async encode() {
    this.images++;
    this.encoded++;
    return { free: () => void this.images-- };
  }
  encode_rgba() {
    return this.encode();
  }
  async label_embeddings() {
    this.embedded++;
    this.labelEmbeddings++;
    return { free: () => void this.labelEmbeddings-- };
  }
  async classify() {
    return ["b", "c", "a"].map((label, index) => ({ label, score: 1 / (index + 2) }));
  }
  async caption(_image: unknown, _settings: unknown, onToken: OnToken) {
    const pieces = await this.onText(onToken);
    return { text: pieces.join(""), tokens: pieces.map((_, index) => index), logProb: -2 };
  }
  async answer(_image: unknown, _question: string, choices: string[] | undefined, _max: unknown, onToken: OnToken) {
    if (choices) return { answer: "yes", logProb: -1, choices: choices.map((answer) => ({ answer, score: 0.5 })) };
    return { answer: (await this.onText(onToken)).join(""), logProb: -2 };
  }
  classify_video(frames: Float32Array) {
    return [...frames].map((value) => ({ label: String(value), score: 0.5 }));
  }
  async explain(_bytes: Uint8Array, text: string | undefined, onToken: OnToken) {
    const words = text === undefined ? await this.onText(onToken) : [text];
    const region = { x: 0, y: 0, width: 1, height: 1 };
    const explained = words.map((word) => ({ text: word, heat: Float32Array.of(1) }));
    return { text: words.join(""), logProb: -1, words: explained, columns: 1, rows: 1, region };
  }
  explain_rgba(_width: number, _height: number, rgba: Uint8Array, text: string | undefined, onToken: OnToken) {
    return this.explain(rgba, text, onToken);
  }
  embed_image() {
    return Float32Array.of(1, 0);
  }
  async embed_text(texts: string[]) {
    return Float32Array.from(texts.flatMap((_, row) => [row, row + 0.5]));
  }
  free() {}
}

let session: FakeSession;
let hooks: Parameters<Glue["install"]>;
let difference: number;

beforeEach(() => {
  session = new FakeSession();
  difference = 1e-6;
  // The smallest wasm module.
  const wasm = new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
  vi.stubGlobal("fetch", async () => new Response(wasm, { headers: { "content-type": "application/wasm" } }));
});

afterEach(() => vi.unstubAllGlobals());

/** Bindings of another wasm than the one that is asked for. */
const unused = new Proxy({} as Glue, {
  get: () => {
    throw new Error("the other bindings were used");
  },
});

function connect(): { connection: Connection; worker: FakeWorker } {
  const glue: Glue = {
    default: async ({ module_or_path }) => {
      expect(module_or_path).toBeInstanceOf(WebAssembly.Module);
      return { memory: new WebAssembly.Memory({ initial: 1 }) };
    },
    install: (...given) => void (hooks = given),
    CocaDevice: { open: async () => ({ check: async () => difference, free: () => undefined }) },
    CocaLoading: {
      needs_clip_merges: () => false,
      begin: (_device, files) => {
        expect([...files.keys()]).toEqual(["open_clip_config.json"]);
        const weights: Uint8Array[] = [];
        return {
          open: (name) => (expect(name).toBe("open_clip_model.safetensors"), 0),
          push: (_file, bytes) => void weights.push(bytes.slice()),
          close: () => expect(Buffer.concat(weights).toString("latin1")).toBe(WEIGHTS),
          finish: () => session,
          free: () => undefined,
        };
      },
    },
  };
  const handlers: Partial<Handlers> = {};
  const worker = new FakeWorker(handlers);
  Object.assign(handlers, new Runtime({ full: unused, cpu: glue }, worker.server as Server).handlers());
  return { connection: new Connection(workerLike(worker), undefined), worker };
}

async function loaded(): Promise<{ connection: Connection; worker: FakeWorker }> {
  const connected = connect();
  await connected.connection.call("load", PARAMS);
  return connected;
}

describe("Runtime", () => {
  it("loads, and says what it did", async () => {
    const phases: LoadProgress["phase"][] = [];
    const info = await connect().connection.call("load", PARAMS, { onEvent: ({ phase }) => phases.push(phase) });
    expect([...new Set(phases)]).toEqual(["download", "upload", "selftest", "ready"]);
    expect(info).toMatchObject({ device: "cpu", reason: "a test", dtype: "f32", parameters: 12, name: "tiny", selfTestError: 0.001 });
    expect(info).not.toHaveProperty("adapter");
    expect(info.timings.totalMs).toBeGreaterThan(0);
  });

  it.each([0.3, Number.NaN, Number.POSITIVE_INFINITY])("refuses a device that is off by %d", async (wrong) => {
    difference = wrong;
    await expect(connect().connection.call("load", PARAMS)).rejects.toMatchObject({ code: "self-test-failed" });
  });

  it("keeps the best labels, and frees every image", async () => {
    const { connection } = await loaded();
    const labels = { classifier: undefined, labels: ["a", "b", "c"], templates: undefined };
    const [scores] = await connection.call("classify", { images: [IMAGE, IMAGE], labels, topK: 2 });
    expect(scores?.map(({ label }) => label)).toEqual(["b", "c"]);
    expect(session.images).toBe(0);
  });

  it("encodes an image file once while it is in use, and frees the oldest", async () => {
    const { connection } = await loaded();
    const embed = (...keys: number[]) => connection.call("embedImage", { images: keys.map(file) });
    await embed(0);
    await connection.call("caption", { images: [file(0)], generation: GENERATION });
    expect(session.encoded).toBe(1);
    await embed(0, 1, 2, 3, 4, 5);
    expect([session.encoded, session.images]).toEqual([6, 4]);
    await embed(0);
    expect(session.encoded).toBe(7);
  });

  it("embeds labels once while they are in use, and frees the oldest", async () => {
    const { connection } = await loaded();
    const classify = (label: string) =>
      connection.call("classify", { images: [IMAGE], labels: { classifier: undefined, labels: [label], templates: ["{}"] }, topK: undefined });
    await classify("first");
    await classify("first");
    expect(session.embedded).toBe(1);
    for (let index = 0; index < 20; index++) await classify(`label ${index}`);
    expect(session.labelEmbeddings).toBe(8);
    await classify("first");
    expect(session.embedded).toBe(22);
  });

  it("keeps a classifier until it is disposed, and makes one that a worker before it had", async () => {
    const { connection } = await loaded();
    const labels = { classifier: 7, labels: ["a", "b", "c"], templates: undefined };
    const classify = () => connection.call("classify", { images: [IMAGE], labels, topK: 1 });
    await connection.call("createClassifier", { labels });
    expect((await classify())[0]?.[0]?.label).toBe("b");
    await connection.call("classifyVideo", { embeddings: Float32Array.of(1, 2), labels, topK: 1 });
    expect(session.embedded).toBe(1);
    await connection.call("disposeClassifier", { classifier: 7 });
    expect(session.labelEmbeddings).toBe(0);
    await classify();
    expect([session.embedded, session.labelEmbeddings]).toEqual([2, 1]);
  });

  it("lets a call in between the images of a long one", async () => {
    const { connection } = await loaded();
    const order: string[] = [];
    const long = connection.call("embedImage", { images: Array.from({ length: 50 }, () => IMAGE) }).then(() => order.push("long"));
    const short = connection.call("embedText", { texts: ["a"] }).then(() => order.push("short"));
    await Promise.all([long, short]);
    expect(order).toEqual(["short", "long"]);
    expect([session.encoded, session.images]).toEqual([50, 0]);
  });

  it("explains, and stops within a token of the abort", async () => {
    const { connection } = await loaded();
    const given = await connection.call("explain", { image: IMAGE, text: "a cat" });
    expect(given.words).toEqual([{ text: "a cat", heat: Float32Array.of(1) }]);
    const controller = new AbortController();
    let stopped = false;
    session.onText = async (onToken) => {
      controller.abort();
      while (onToken()) await new Promise((resolve) => setTimeout(resolve, 1));
      stopped = true;
      return [];
    };
    const call = connection.call("explain", { image: IMAGE, text: undefined }, { signal: controller.signal });
    await expect(call).rejects.toMatchObject({ code: "aborted" });
    await connection.call("embedText", { texts: ["next"] });
    expect(stopped).toBe(true);
  });

  it("streams, and stops within a token of the abort", async () => {
    const { connection } = await loaded();
    let made = 0;
    session.onText = async (onToken) => {
      const pieces: string[] = [];
      do {
        await new Promise((resolve) => setTimeout(resolve, 1));
        pieces.push(`${++made} `);
      } while (onToken(`${made} `));
      return pieces;
    };
    const controller = new AbortController();
    const seen: string[] = [];
    const call = connection.call(
      "caption",
      { images: [IMAGE], generation: GENERATION },
      {
        signal: controller.signal,
        onEvent: (piece) => {
          seen.push(piece);
          if (seen.length === 3) controller.abort();
        },
      },
    );
    await expect(call).rejects.toMatchObject({ code: "aborted" });
    await connection.call("embedText", { texts: ["next"] });
    expect(seen).toEqual(["1 ", "2 ", "3 "]);
    // Messages of the fake worker may take a few turns; a generation that does not hear them would never end.
    expect(made).toBeLessThan(10);
    expect(session.images).toBe(0);
  });

  it("tells of pieces only to calls that listen", async () => {
    const { connection, worker } = await loaded();
    const events: unknown[] = [];
    worker.addEventListener("message", (event) => {
      const message = (event as MessageEvent<WorkerMessage>).data;
      if (message.type === "event") events.push(message.event);
    });
    session.onText = async (onToken) => ["a", " cat"].filter((piece) => onToken(piece));
    const params = { images: [IMAGE], generation: GENERATION };
    const [silent] = await connection.call("caption", params);
    expect(events).toEqual([]);
    const [heard] = await connection.call("caption", params, { onEvent: () => undefined });
    expect(events).toEqual(["a", " cat"]);
    expect([silent?.caption, heard?.caption]).toEqual(["a cat", "a cat"]);
  });

  it("takes the time of every step", async () => {
    const { connection } = await loaded();
    session.onText = async (onToken) => {
      for (let step = 0; step < 3; step++) {
        onToken("piece");
        onToken();
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      return [];
    };
    const [caption] = await connection.call("caption", { images: [IMAGE], generation: GENERATION });
    const { firstTokenMs, totalMs, tokensPerSecond } = caption?.timings ?? { firstTokenMs: 0, totalMs: 0, tokensPerSecond: 0 };
    expect(totalMs - firstTokenMs).toBeGreaterThan(10);
    expect(tokensPerSecond).toBeCloseTo(2000 / (totalMs - firstTokenMs), 3);
  });

  it("answers freely or by choice", async () => {
    const { connection } = await loaded();
    session.onText = async (onToken) => (onToken("yes") ? ["yes"] : []);
    const params = { image: IMAGE, question: "is it?", maxTokens: undefined };
    const free = await connection.call("answer", { ...params, choices: undefined });
    expect(free).toMatchObject({ answer: "yes", logProb: -2 });
    expect(free).not.toHaveProperty("choices");
    const chosen = await connection.call("answer", { ...params, choices: ["no", "yes"] });
    expect(chosen).toMatchObject({ answer: "yes", choices: [{ answer: "no" }, { answer: "yes" }] });
  });

  it("cuts the text embeddings into rows", async () => {
    const { connection } = await loaded();
    const rows = await connection.call("embedText", { texts: ["a", "b"] });
    expect(rows).toEqual([Float32Array.of(0, 0.5), Float32Array.of(1, 1.5)]);
  });

  it.each([
    ["index out of bounds", "panic"],
    ["wgpu error: Validation Error", "webgpu-failed"],
    ["wgpu error: Device was lost", "device-lost"],
    ["memory allocation of 4294967296 bytes failed", "out-of-memory"],
  ])("ends on the panic %j as %s", async (message, code) => {
    const { connection } = await loaded();
    session.onText = () => new Promise(() => undefined);
    const call = connection.call("caption", { images: [IMAGE], generation: GENERATION });
    hooks[0](message);
    await expect(call).rejects.toMatchObject({ code });
  });

  it.each(["device-lost", "out-of-memory", "webgpu-failed"])("ends when the device reports %s", async (code) => {
    const { connection } = await loaded();
    session.onText = () => new Promise(() => undefined);
    const call = connection.call("caption", { images: [IMAGE], generation: GENERATION });
    hooks[2](code, "the reason");
    await expect(call).rejects.toMatchObject({ code, message: "the reason" });
  });

  it("ends when a kernel is refused, instead of returning what its buffer held", async () => {
    const { connection } = await loaded();
    hooks[1]("error", "[cubecl-wgpu] WGSL compilation failed for kernel `matmul`: unknown");
    await expect(connection.call("embedText", { texts: ["a"] })).rejects.toMatchObject({ code: "webgpu-failed" });
  });
});
