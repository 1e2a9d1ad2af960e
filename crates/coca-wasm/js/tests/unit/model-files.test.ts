import { createHash } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { LoadProgress } from "../../src/types.js";
import { readModel, shardNames, type ModelFiles } from "../../src/worker/model-files.js";

const BASE = "https://models.test/coca/";
const WEIGHTS = "\x02\0\0\0\0\0\0\0{}tensors";
const encode = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);
const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

let served: Record<string, string | Response>;
let requests: string[];

beforeEach(() => {
  served = { "open_clip_config.json": "{}", "open_clip_model.safetensors": WEIGHTS };
  requests = [];
  vi.stubGlobal("fetch", async (address: string) => {
    const url = new URL(address);
    const name = url.pathname.slice("/coca/".length);
    requests.push(name + url.search);
    const body = served[name];
    if (body instanceof Response) return body;
    if (body === undefined) return new Response("nothing here", { status: 404 });
    return new Response(body, { headers: { "content-length": String(encode(body).length) } });
  });
});

afterEach(() => vi.unstubAllGlobals());

function read(emit: (progress: LoadProgress) => void = () => undefined, url = BASE): Promise<ModelFiles> {
  return readModel({ kind: "address", url }, new AbortController().signal, emit);
}

function manifest(...names: string[]): string {
  const record = (name: string) => ({ sha256: sha256(String(served[name])), bytes: encode(String(served[name])).length });
  return JSON.stringify({ files: Object.fromEntries(names.map((name) => [name, record(name)])) });
}

describe("readModel", () => {
  it("reads a folder as open_clip publishes them", async () => {
    const files = await read();
    expect([...files.contents]).toEqual([
      ["open_clip_config.json", encode("{}")],
      ["open_clip_model.safetensors", encode(WEIGHTS)],
    ]);
    expect(files).toMatchObject({ weightBytes: WEIGHTS.length, verified: false });
  });

  it("reads shards, each once", async () => {
    delete served["open_clip_model.safetensors"];
    served["model.safetensors.index.json"] = JSON.stringify({
      weight_map: { a: "model-00001-of-00002.safetensors", b: "model-00002-of-00002.safetensors", c: "model-00001-of-00002.safetensors" },
    });
    served["model-00001-of-00002.safetensors"] = WEIGHTS;
    served["model-00002-of-00002.safetensors"] = WEIGHTS;
    const { contents, weightBytes } = await read();
    const names = [...contents.keys()].filter((name) => name.endsWith(".safetensors"));
    expect(names).toEqual(["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]);
    expect(weightBytes).toBe(2 * WEIGHTS.length);
    delete served["model-00002-of-00002.safetensors"];
    await expect(read()).rejects.toMatchObject({ code: "not-found" });
  });

  it("keeps the query of a signed address for every file", async () => {
    await read(undefined, `${BASE}?token=1`);
    expect(requests).toContain("open_clip_config.json?token=1");
    expect(requests).toContain("open_clip_model.safetensors?token=1");
  });

  it("requests only what the manifest lists", async () => {
    served["coca.json"] = manifest("open_clip_config.json", "open_clip_model.safetensors");
    const { verified } = await read();
    expect(verified).toBe(true);
    expect(requests.sort()).toEqual(["coca.json", "open_clip_config.json", "open_clip_model.safetensors"]);
  });

  it.each([
    ["truncated", WEIGHTS.slice(0, -1)],
    ["bit-flipped", WEIGHTS.replace("t", "u")],
    ["replaced by a page, with a manifest", "<!doctype html>".padEnd(WEIGHTS.length)],
  ])("refuses weights that are %s", async (_, body) => {
    served["coca.json"] = manifest("open_clip_config.json", "open_clip_model.safetensors");
    served["open_clip_model.safetensors"] = body;
    await expect(read()).rejects.toMatchObject({ code: "integrity" });
  });

  it.each([
    ["an HTML page", "\n<!DOCTYPE html><html></html>", /HTML page/],
    ["a Git LFS pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:0", /Git LFS/],
    ["something else", "PK\x03\x04 some other archive", /not a safetensors file/],
    ["empty", "", /not a safetensors file/],
  ])("refuses %s in place of weights", async (_, body, message) => {
    served["open_clip_model.safetensors"] = body;
    await expect(read()).rejects.toMatchObject({ code: "weights-invalid" });
    await expect(read()).rejects.toThrow(message);
  });

  it("takes a start page in place of an optional file as absence", async () => {
    served["tokenizer.json"] = "<!doctype html>";
    served["coca.json"] = "<!doctype html>";
    expect([...(await read()).contents.keys()]).toEqual(["open_clip_config.json", "open_clip_model.safetensors"]);
  });

  it("says which file is missing, where", async () => {
    delete served["open_clip_config.json"];
    await expect(read()).rejects.toMatchObject({ code: "not-found" });
    await expect(read()).rejects.toThrow(`${BASE}open_clip_config.json`);
  });

  it("tells server errors, lost connections and broken downloads", async () => {
    served["open_clip_config.json"] = new Response("", { status: 503, statusText: "Busy" });
    await expect(read()).rejects.toMatchObject({ code: "network" });
    served["open_clip_config.json"] = new Response("{", { headers: { "content-length": "2" } });
    await expect(read()).rejects.toThrow("1 of 2 bytes");
    vi.stubGlobal("fetch", () => Promise.reject(new TypeError("Failed to fetch")));
    await expect(read()).rejects.toMatchObject({ code: "network" });
  });

  it("rejects with `aborted` when its signal is", async () => {
    vi.stubGlobal("fetch", (_: string, { signal }: { signal: AbortSignal }) => Promise.reject(signal.reason));
    const loading = readModel({ kind: "address", url: BASE }, AbortSignal.abort("stop"), () => undefined);
    await expect(loading).rejects.toMatchObject({ code: "aborted", cause: "stop" });
  });

  it("reports progress that only grows and ends at the total", async () => {
    served["coca.json"] = manifest("open_clip_config.json", "open_clip_model.safetensors");
    const progress: LoadProgress[] = [];
    await read((step) => progress.push(step));
    for (const phase of ["download", "verify"]) {
      const steps = progress.filter((step) => step.phase === phase && step.file === "open_clip_model.safetensors");
      const loaded = steps.map((step) => step.loaded);
      expect(loaded).toEqual([...loaded].sort((a, b) => a - b));
      expect(loaded[0]).toBe(0);
      expect(new Set(steps.map((step) => step.total))).toEqual(new Set([WEIGHTS.length]));
      expect(loaded.at(-1)).toBe(WEIGHTS.length);
    }
  });

  it("reads files that are at hand, and data: addresses, without a request", async () => {
    const files = {
      "open_clip_config.json": `data:application/json;base64,${btoa("{}")}`,
      "open_clip_model.safetensors": new Blob([WEIGHTS]),
    };
    const model = await readModel({ kind: "files", files }, new AbortController().signal, () => undefined);
    expect(model.contents.get("open_clip_config.json")).toEqual(encode("{}"));
    expect(model.contents.get("open_clip_model.safetensors")).toEqual(encode(WEIGHTS));
    expect(requests).toEqual([]);
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
