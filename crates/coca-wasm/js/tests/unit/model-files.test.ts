import { createHash } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { deleteCachedModels, listCachedModels, ModelCache, openModelCache } from "../../src/model-cache.js";
import type { LoadProgress } from "../../src/types.js";
import { ModelFiles, shardNames, type ReadOptions, type WeightsSink } from "../../src/worker/model-files.js";
import { FakeCaches } from "./support/fake-cache.js";
import { FakeServer } from "./support/fake-server.js";

const BASE = "https://models.test/coca/";
const CONFIG = "open_clip_config.json";
const WEIGHTS = "open_clip_model.safetensors";
const encode = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);
const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

const PIECE_BYTES = 400_000;
/** Two whole pieces and a bit, all different; the beginning is that of a safetensors file. */
const large = new Uint8Array(2 * PIECE_BYTES + 12345);
for (let at = 0; at < large.length; at += 4) large[at] = at >> 10;
large.set(encode("\x02\0\0\0\0\0\0\0{}"));
const small = large.slice(0, 300_000);

let server: FakeServer;
let caches: FakeCaches;
let warnings: string[];

beforeEach(() => {
  server = new FakeServer(BASE);
  server.put(CONFIG, "{}");
  server.put(WEIGHTS, small);
  caches = new FakeCaches();
  warnings = [];
  vi.stubGlobal("fetch", server.fetch);
  vi.stubGlobal("caches", caches);
});

afterEach(() => vi.unstubAllGlobals());

/** Stands in for the Rust side: knows every file by its bytes, and compares them with the hash that it was given. */
class Sink implements WeightsSink {
  readonly files: { name: string; trusted: boolean; parts: Uint8Array[]; closed: boolean }[] = [];
  readonly hashes: Record<string, string> = {};

  open(name: string, trusted: boolean): number {
    return this.files.push({ name, trusted, parts: [], closed: false }) - 1;
  }
  push(file: number, bytes: Uint8Array): void {
    this.files[file]?.parts.push(bytes.slice());
  }
  close(number: number): void {
    const file = this.files[number];
    if (!file) throw new Error("not open");
    const expected = this.hashes[file.name];
    if (expected !== undefined && !file.trusted && sha256(Buffer.concat(file.parts)) !== expected) {
      throw { code: "integrity", message: `the SHA-256 of ${file.name} is another` };
    }
    file.closed = true;
  }
  bytes(name: string): Uint8Array {
    const file = this.files.find((file) => file.name === name && file.closed);
    return new Uint8Array(Buffer.concat(file?.parts ?? []));
  }
}

interface Loaded {
  files: ModelFiles;
  sink: Sink;
  total: number;
  progress: LoadProgress[];
}

async function load(options: Partial<ReadOptions> & { url?: string; hashes?: Record<string, string> } = {}): Promise<Loaded> {
  const progress: LoadProgress[] = [];
  const sink = new Sink();
  Object.assign(sink.hashes, options.hashes);
  const files = await ModelFiles.open(
    { kind: "address", url: options.url ?? BASE },
    {
      signal: new AbortController().signal,
      emit: (step) => progress.push(step),
      cache: new ModelCache(await caches.open(), PIECE_BYTES),
      warn: (message) => warnings.push(message),
      pause: async () => undefined,
      ...options,
    },
  );
  const total = await files.readWeights(sink);
  await files.keep();
  return { files, sink, total, progress };
}

/** A `coca.json` that lists these files as they are served now. */
function describe_(...names: string[]): Record<string, string> {
  const hashes = Object.fromEntries(names.map((name) => [name, sha256(server.files.get(name)?.body ?? encode(""))]));
  const records = names.map((name) => [name, { sha256: hashes[name], bytes: server.files.get(name)?.body.length }]);
  server.put("coca.json", JSON.stringify({ files: Object.fromEntries(records) }));
  return hashes;
}

const SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] as const;

function serveShards(): void {
  server.files.delete(WEIGHTS);
  server.put("model.safetensors.index.json", JSON.stringify({ weight_map: { a: SHARDS[0], b: SHARDS[1], c: SHARDS[0] } }));
  server.put(SHARDS[0], small);
  server.put(SHARDS[1], small.slice(0, 1000));
}

describe("reading a folder", () => {
  it("reads one as open_clip publishes them", async () => {
    const { files, sink, total } = await load();
    expect([...files.contents]).toEqual([[CONFIG, encode("{}")]]);
    expect(sha256(sink.bytes(WEIGHTS))).toBe(sha256(small));
    expect(total).toBe(small.length);
    expect(files.verified).toBe(false);
  });

  it("hands large chunks over in slices", async () => {
    const files = { [CONFIG]: new Blob(["{}"]), [WEIGHTS]: new Blob([new Uint8Array(3_000_000).fill(123)]) };
    const model = await ModelFiles.open({ kind: "files", files }, { signal: new AbortController().signal, emit: () => undefined });
    const sink = new Sink();
    expect(await model.readWeights(sink)).toBe(3_000_000);
    expect(Math.max(...(sink.files[0]?.parts.map((part) => part.length) ?? []))).toBeLessThanOrEqual(2 ** 20);
  });

  it("adds the package's CLIP vocabulary and keeps it with the model", async () => {
    server.put("packaged.bin", "merges");
    describe_(CONFIG, WEIGHTS);
    const read = async (url = `${BASE}packaged.bin`): Promise<ModelFiles> => {
      const options = { signal: new AbortController().signal, emit: () => undefined, cache: new ModelCache(await caches.open(), PIECE_BYTES) };
      const files = await ModelFiles.open({ kind: "address", url: BASE }, options);
      await files.addClipMerges(url);
      await files.readWeights(new Sink());
      await files.keep();
      return files;
    };
    const files = await read();
    expect([...files.contents.keys()]).toEqual(["coca.json", CONFIG, "clip_merges.txt.gz"]);
    expect(files.contents.get("clip_merges.txt.gz")).toEqual(encode("merges"));
    expect(files.verified, "the package's own file needs no hash").toBe(true);
    server.offline = true;
    expect((await read()).contents.get("clip_merges.txt.gz")).toEqual(encode("merges"));
    server.offline = false;
    await expect(read(`${BASE}elsewhere.bin`)).rejects.toMatchObject({ code: "not-found", message: /clipVocabularyUrl/ });
  });

  it("reads shards, each once", async () => {
    serveShards();
    const { sink, total } = await load();
    expect(sink.files.map(({ name }) => name).sort()).toEqual([...SHARDS]);
    expect(total).toBe(small.length + 1000);
    server.files.delete(SHARDS[1]);
    await expect(load({ cache: undefined })).rejects.toMatchObject({ code: "not-found" });
  });

  it("keeps the query of a signed address for every file", async () => {
    await load({ url: `${BASE}?token=1` });
    expect(server.requests).toContain(`${CONFIG}?token=1`);
    expect(server.requests).toContain(`${WEIGHTS}?token=1`);
  });

  it("requests only what the manifest lists", async () => {
    describe_(CONFIG, WEIGHTS);
    expect((await load()).files.verified).toBe(true);
    expect(server.requests.sort()).toEqual(["coca.json", CONFIG, WEIGHTS]);
  });

  it.each([
    ["an HTML page", "\n<!DOCTYPE html><html></html>", /HTML page/],
    ["a Git LFS pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:0", /Git LFS/],
    ["something else", "PK\x03\x04 some other archive", /not a safetensors file/],
    ["empty", "", /not a safetensors file/],
  ])("refuses %s in place of weights, and keeps nothing of it", async (_, body, message) => {
    server.put(WEIGHTS, body);
    await expect(load()).rejects.toMatchObject({ code: "weights-invalid" });
    await expect(load()).rejects.toThrow(message);
    expect(caches.pieces().filter((url) => url.includes(WEIGHTS))).toEqual([]);
  });

  it("takes a start page in place of an optional file as absence", async () => {
    server.put("tokenizer.json", "<!doctype html>");
    server.put("coca.json", "<!doctype html>");
    expect([...(await load()).files.contents.keys()]).toEqual([CONFIG]);
    expect(caches.pieces().filter((url) => /tokenizer|coca\.json/.test(url))).toEqual([]);
  });

  it("says which file is missing, where", async () => {
    server.files.delete(CONFIG);
    await expect(load()).rejects.toMatchObject({ code: "not-found" });
    await expect(load()).rejects.toThrow(`${BASE}${CONFIG}`);
    server.put(CONFIG, "{}");
    server.files.delete(WEIGHTS);
    await expect(load()).rejects.toThrow(/coca-train convert/);
  });

  it("tells server errors and lost connections", async () => {
    server.put(CONFIG, "{}", { status: 503 });
    await expect(load()).rejects.toMatchObject({ code: "network" });
    server.offline = true;
    await expect(load()).rejects.toMatchObject({ code: "network" });
  });

  it("rejects with `aborted` when its signal is", async () => {
    await expect(load({ signal: AbortSignal.abort("stop") })).rejects.toMatchObject({ code: "aborted" });
  });

  it("reports progress that only grows and ends at the total", async () => {
    const hashes = describe_(CONFIG, WEIGHTS);
    const { progress } = await load({ hashes });
    for (const phase of ["download", "verify"]) {
      const steps = progress.filter((step) => step.phase === phase && step.file === WEIGHTS);
      const loaded = steps.map((step) => step.loaded);
      expect(loaded).toEqual([...loaded].sort((a, b) => a - b));
      expect(loaded[0]).toBe(0);
      expect(new Set(steps.map((step) => step.total))).toEqual(new Set([small.length]));
      expect(loaded.at(-1)).toBe(small.length);
    }
  });

  it("reads files that are at hand, and data: addresses, without a request", async () => {
    const files = { [CONFIG]: `data:application/json;base64,${btoa("{}")}`, [WEIGHTS]: new Blob([small]) };
    const options = { signal: new AbortController().signal, emit: () => undefined };
    const model = await ModelFiles.open({ kind: "files", files }, options);
    const sink = new Sink();
    await model.readWeights(sink);
    expect(model.contents.get(CONFIG)).toEqual(encode("{}"));
    expect(sha256(sink.bytes(WEIGHTS))).toBe(sha256(small));
    expect(server.requests).toEqual([]);
  });
});

describe("a connection that drops", () => {
  it("is taken up again where it was", async () => {
    server.put(WEIGHTS, large, { drops: [100_000, 500_000] });
    const { sink } = await load();
    expect(sha256(sink.bytes(WEIGHTS))).toBe(sha256(large));
    expect(server.requests.slice(-3)).toEqual([WEIGHTS, `${WEIGHTS} bytes=100000-`, `${WEIGHTS} bytes=600000-`]);
  });

  it("is taken up by passing over what came before, where the server has no ranges", async () => {
    server.put(WEIGHTS, large, { drops: [100_000], noRanges: true });
    expect(sha256((await load()).sink.bytes(WEIGHTS))).toBe(sha256(large));
  });

  it("is given up after some attempts without a byte, and what came before is kept", async () => {
    server.put(WEIGHTS, large, { drops: [PIECE_BYTES + 10, 0, 0, 0, 0, 0] });
    await expect(load()).rejects.toThrow(new RegExp(`broke off after ${PIECE_BYTES + 10} of ${large.length} bytes`));
    server.requests.length = 0;
    server.put(WEIGHTS, large);
    const { sink, progress } = await load();
    expect(sha256(sink.bytes(WEIGHTS))).toBe(sha256(large));
    expect(server.requests.at(-1)).toBe(`${WEIGHTS} bytes=${PIECE_BYTES}-`);
    expect(progress.filter(({ file }) => file === WEIGHTS).some(({ fromCache }) => fromCache)).toBe(false);
  });

  it("is not taken up when the file has become another one", async () => {
    server.put(WEIGHTS, small, { drops: [1000] });
    const other = small.slice(0, -1);
    const pause = async () => server.put(WEIGHTS, other);
    await expect(load({ pause })).rejects.toThrow(/changed while it was downloaded/);
    expect(sha256((await load()).sink.bytes(WEIGHTS))).toBe(sha256(other));
  });
});

describe("the cache", () => {
  it("serves the second load without a network", async () => {
    server.put(WEIGHTS, large);
    await load();
    server.offline = true;
    const { sink, progress } = await load();
    expect(sha256(sink.bytes(WEIGHTS))).toBe(sha256(large));
    expect(sink.files[0]?.trusted).toBe(true);
    expect(progress.filter(({ phase }) => phase === "download").every(({ fromCache }) => fromCache)).toBe(true);
  });

  it("serves shards, and asks only for the manifest when that has their hashes", async () => {
    serveShards();
    const hashes = describe_(CONFIG, "model.safetensors.index.json", ...SHARDS);
    await load({ hashes });
    server.requests.length = 0;
    const { sink, files } = await load({ hashes });
    expect(server.requests).toEqual(["coca.json"]);
    expect(sink.files.every(({ trusted, closed }) => trusted && closed)).toBe(true);
    expect(files.verified).toBe(true);
    server.offline = true;
    expect((await load({ hashes })).total).toBe(small.length + 1000);
  });

  it("notices a changed file by its ETag", async () => {
    await load();
    const other = small.slice();
    other[5000] = 99;
    server.put(WEIGHTS, other);
    expect(sha256((await load()).sink.bytes(WEIGHTS))).toBe(sha256(other));
    server.offline = true;
    expect(sha256((await load()).sink.bytes(WEIGHTS))).toBe(sha256(other));
  });

  it("notices one by its date, and by the hash in the manifest", async () => {
    const { etag: _, ...dated } = { etag: "", lastModified: "Mon, 01 Jan 2024 00:00:00 GMT" };
    server.files.set(WEIGHTS, { body: small, ...dated });
    await load();
    server.requests.length = 0;
    await load();
    expect(server.requests.filter((name) => name.includes("range"))).toEqual([]);
    const other = small.slice(7);
    other.set(small.subarray(0, 16));
    server.files.set(WEIGHTS, { body: other, lastModified: "Tue, 02 Jan 2024 00:00:00 GMT" });
    expect((await load()).total).toBe(other.length);
    server.put(WEIGHTS, small);
    const hashes = describe_(CONFIG, WEIGHTS);
    const { sink } = await load({ hashes });
    expect(sink.files[0]?.trusted).toBe(false);
    expect(sha256(sink.bytes(WEIGHTS))).toBe(sha256(small));
  });

  it("repairs a damaged piece, and one that is gone", async () => {
    server.put(WEIGHTS, large);
    await load();
    const [first, second] = caches.pieces().filter((url) => url.includes(WEIGHTS));
    const entry = caches.entries.get(first ?? "");
    if (entry) entry.body[77] = 255 - (entry.body[77] ?? 0);
    caches.entries.delete(second ?? "");
    server.requests.length = 0;
    const { sink } = await load();
    expect(sha256(sink.bytes(WEIGHTS))).toBe(sha256(large));
    const range = (piece: number) => `${WEIGHTS} bytes=${piece * PIECE_BYTES}-${(piece + 1) * PIECE_BYTES - 1}`;
    expect(server.requests).toEqual(expect.arrayContaining([range(0), range(1)]));
    server.offline = true;
    expect(sha256((await load()).sink.bytes(WEIGHTS))).toBe(sha256(large));
  });

  it("keeps nothing of a file that is not the one the manifest describes", async () => {
    const hashes = describe_(CONFIG, WEIGHTS);
    const damaged = small.slice();
    damaged[1234] = 42;
    server.files.set(WEIGHTS, { body: damaged, etag: '"damaged"' });
    await expect(load({ hashes })).rejects.toMatchObject({ code: "integrity" });
    expect(caches.pieces().filter((url) => url.includes(WEIGHTS))).toEqual([]);
    await deleteCachedModels();
    server.files.set(CONFIG, { body: encode('{"a":1}'), etag: '"other"' });
    await expect(load({ hashes })).rejects.toMatchObject({ code: "integrity" });
    expect(caches.pieces().filter((url) => url.includes(CONFIG))).toEqual([]);
  });

  it.each([0, 0.1, 0.5, 0.99])("is not broken by a load that is aborted at %d", async (share) => {
    server.put(WEIGHTS, large);
    const controller = new AbortController();
    const emit = ({ file, loaded }: LoadProgress): void => {
      if (file === WEIGHTS && loaded >= share * large.length) controller.abort("stop");
    };
    await expect(load({ signal: controller.signal, emit })).rejects.toMatchObject({ code: "aborted" });
    expect((await listCachedModels()).every(({ complete }) => !complete)).toBe(true);
    expect(sha256((await load()).sink.bytes(WEIGHTS))).toBe(sha256(large));
    server.offline = true;
    expect(sha256((await load()).sink.bytes(WEIGHTS))).toBe(sha256(large));
  });

  it("warns once when storage is full, and the load goes on", async () => {
    caches.full = true;
    server.put(WEIGHTS, large);
    expect(sha256((await load()).sink.bytes(WEIGHTS))).toBe(sha256(large));
    expect(warnings.filter((warning) => warning.includes(WEIGHTS))).toHaveLength(1);
    expect(warnings.join()).toContain("storage is full");
    expect(caches.pieces()).toEqual([]);
  });

  it("is not used when it is not wanted, or not there", async () => {
    await load({ cache: undefined });
    expect(caches.entries.size).toBe(0);
    vi.stubGlobal("caches", { open: () => Promise.reject(new DOMException("no", "SecurityError")) });
    expect(await openModelCache()).toBeUndefined();
    expect(await listCachedModels()).toEqual([]);
  });

  it("can be listed and emptied", async () => {
    await load();
    await load({ url: `${BASE}?other` });
    const list = await listCachedModels();
    expect(list.map(({ url, complete, files }) => [url, complete, files])).toEqual([
      [BASE, true, 2],
      [`${BASE}?other`, true, 2],
    ]);
    expect(list[0]?.bytes).toBe(small.length + 2);
    await deleteCachedModels(BASE);
    expect((await listCachedModels()).map(({ url }) => url)).toEqual([`${BASE}?other`]);
    await deleteCachedModels();
    expect(caches.entries.size).toBe(0);
  });
});

describe("shardNames", () => {
  it.each(["../secret.safetensors", "https://evil.test/x.safetensors", "/x.safetensors", ".safetensors", "x.bin", 7])(
    "refuses %s",
    (name) => {
      const index = encode(JSON.stringify({ weight_map: { a: name } }));
      expect(() => shardNames(index)).toThrow(expect.objectContaining({ code: "weights-invalid" }));
    },
  );

  it.each(["", "[]", "{}", '{"weight_map":[]', "null"])("refuses the index %j", (index) => {
    expect(() => shardNames(encode(index))).toThrow(expect.objectContaining({ code: "weights-invalid" }));
  });
});
