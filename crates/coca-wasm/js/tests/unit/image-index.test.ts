import { describe, expect, it } from "vitest";
import { ImageIndex, type IndexOwner } from "../../src/image-index.js";
import type { ModelInfo } from "../../src/types.js";

const INFO = { name: "tiny", revision: "1", parameters: 12 } as unknown as ModelInfo;
const image = (degrees: number): Blob => new Blob([String(degrees)]);
const at = (degrees: number): Float32Array =>
  Float32Array.of(Math.cos((degrees * Math.PI) / 180), Math.sin((degrees * Math.PI) / 180));

/** Images and texts are angles. */
const owner: IndexOwner = {
  info: () => INFO,
  embedImage: async (input) => at(Number(await (input as Blob).text())),
  embedText: async (query) => at(Number(query)),
};

describe("ImageIndex", () => {
  it("finds by text and by image, best first", async () => {
    const index = new ImageIndex(owner, undefined);
    for (const degrees of [0, 30, 90]) await index.add(image(degrees), { id: `at ${degrees}` });
    const hits = await index.search("20", { topK: 2 });
    expect(hits.map(({ id }) => id)).toEqual(["at 30", "at 0"]);
    expect(hits[0]?.score).toBeCloseTo(Math.cos(Math.PI / 18), 6);
    expect((await index.search(image(80))).map(({ id }) => id)).toEqual(["at 90", "at 30", "at 0"]);
    await expect(index.search(" ")).rejects.toMatchObject({ code: "invalid-argument" });
    await expect(index.search("1", { topK: 0 })).rejects.toMatchObject({ code: "invalid-argument" });
  });

  it("names images that have no name, replaces those of the same, and forgets", async () => {
    const index = new ImageIndex(owner, undefined);
    expect(await Promise.all([index.add(image(0)), index.add(image(10)), index.add(image(20), { id: 3 })])).toEqual([0, 1, 3]);
    expect(await index.add(image(40))).toBe(4);
    await index.add(image(90), { id: 0 });
    expect([index.size, index.ids()]).toEqual([4, [0, 1, 3, 4]]);
    expect((await index.search("90", { topK: 1 }))[0]?.id).toBe(0);
    expect([index.remove(0), index.remove(0), index.size]).toEqual([true, false, 3]);
    await expect(index.add(image(0), { id: Number.NaN })).rejects.toMatchObject({ code: "invalid-argument" });
  });

  it("comes back from its bytes, wherever they lie in memory", async () => {
    const index = new ImageIndex(owner, undefined);
    await index.add(image(10), { id: "é \" 1" });
    await index.add(image(50), { id: 2 });
    const bytes = index.export();
    const shifted = new Uint8Array(bytes.length + 3);
    shifted.set(bytes, 3);
    const read = new ImageIndex(owner, shifted.subarray(3));
    expect(read.ids()).toEqual(['é " 1', 2]);
    expect(await read.search("45")).toEqual(await index.search("45"));
    expect(read.export()).toEqual(bytes);
    expect(new ImageIndex(owner, new ImageIndex(owner, undefined).export()).size).toBe(0);
  });

  it("refuses bytes that are not its own, or another model's", async () => {
    const index = new ImageIndex(owner, undefined);
    await index.add(image(10));
    const bytes = index.export();
    const spoilt = (change: (copy: Uint8Array<ArrayBuffer>) => Uint8Array): (() => ImageIndex) => {
      const copy = change(Uint8Array.from(bytes));
      return () => new ImageIndex(owner, copy);
    };
    const set = (offset: number, ...values: number[]) => spoilt((copy) => (copy.set(values, offset), copy));
    expect(spoilt(() => new Uint8Array())).toThrow(/not an exported/);
    expect(set(0, 0)).toThrow(/does not begin/);
    expect(set(8, 255, 255, 255, 255)).toThrow(/cut off/);
    expect(set(12, 0)).toThrow(/not JSON/);
    expect(spoilt((copy) => copy.subarray(0, -4))).toThrow(/length/);
    expect(set(bytes.length - 4, 0, 0, 192, 127)).toThrow(/numbers/);
    const other = { ...owner, info: () => ({ ...INFO, parameters: 13 }) };
    expect(() => new ImageIndex(other, bytes)).toThrow(/another model/);
  });
});
