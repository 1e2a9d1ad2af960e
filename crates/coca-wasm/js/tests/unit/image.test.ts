import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { BlobKeys, imagePayload as payloadWith, transferList } from "../../src/image.js";
import type { ImageInput } from "../../src/types.js";

/** An object that looks like a browser's from outside. */
function lookAlike(className: string, fields: object): ImageInput {
  return { [Symbol.toStringTag]: className, ...fields } as unknown as ImageInput;
}

const keys = new BlobKeys();
const imagePayload = (image: ImageInput) => payloadWith(image, keys);

let drawn: unknown[];
let draw: () => void;

beforeEach(() => {
  drawn = [];
  draw = () => undefined;
  vi.stubGlobal("location", { href: "https://page.test/app/" });
  vi.stubGlobal(
    "OffscreenCanvas",
    class {
      constructor(
        readonly width: number,
        readonly height: number,
      ) {}
      getContext() {
        return {
          drawImage: (...args: unknown[]) => {
            draw();
            drawn.push(args);
          },
          putImageData: (...args: unknown[]) => drawn.push(args),
          getImageData: (_x: number, _y: number, width: number, height: number) => ({
            data: new Uint8ClampedArray(width * height * 4).fill(7),
          }),
        };
      }
    },
  );
});

afterEach(() => vi.unstubAllGlobals());

describe("imagePayload", () => {
  it("sends encoded images as they are", async () => {
    const blob = new Blob(["png"]);
    expect(await imagePayload(blob)).toEqual({ kind: "encoded", blob, key: 0 });
    const file = new File(["png"], "a.png");
    expect(await imagePayload(file)).toEqual({ kind: "encoded", blob: file.slice(), key: 1 });
    expect(await imagePayload(blob)).toEqual({ kind: "encoded", blob, key: 0 });
    for (const bytes of [Uint8Array.of(1, 2), Buffer.of(1, 2), Uint8Array.of(1, 2).buffer]) {
      const payload = await imagePayload(bytes as Uint8Array<ArrayBuffer>);
      expect(payload.kind === "encoded" && new Uint8Array(await payload.blob.arrayBuffer())).toEqual(Uint8Array.of(1, 2));
    }
  });

  it("resolves addresses against the page", async () => {
    expect(await imagePayload("cat.jpg")).toEqual({ kind: "url", url: "https://page.test/app/cat.jpg" });
    expect(await imagePayload(new URL("https://a.test/b"))).toEqual({ kind: "url", url: "https://a.test/b" });
    await expect(imagePayload("https://")).rejects.toMatchObject({ code: "invalid-argument" });
  });

  it.each([
    ["HTMLCanvasElement", { width: 3, height: 2 }],
    ["OffscreenCanvas", { width: 3, height: 2 }],
    ["ImageBitmap", { width: 3, height: 2 }],
    ["VideoFrame", { displayWidth: 3, displayHeight: 2 }],
    ["HTMLVideoElement", { readyState: 2, videoWidth: 3, videoHeight: 2 }],
    ["HTMLImageElement", { complete: true, naturalWidth: 3, naturalHeight: 2 }],
  ])("reads out a %s at its natural size", async (className, fields) => {
    const source = lookAlike(className, fields);
    const payload = imagePayload(source);
    // Before the first wait: the caller may close the frame right after the call.
    expect(drawn).toEqual([[source, 0, 0, 3, 2]]);
    const { kind, width, height, rgba } = (await payload) as Extract<Awaited<typeof payload>, { kind: "pixels" }>;
    expect([kind, width, height, rgba.byteLength]).toEqual(["pixels", 3, 2, 24]);
    expect(transferList([await payload])).toEqual([rgba]);
  });

  it("waits for an image element that is still loading", async () => {
    const decode = vi.fn(async () => undefined);
    const image = lookAlike("HTMLImageElement", { complete: false, decode, naturalWidth: 1, naturalHeight: 1 });
    expect(await imagePayload(image)).toMatchObject({ kind: "pixels", width: 1 });
    expect(decode).toHaveBeenCalledOnce();
    const broken = lookAlike("HTMLImageElement", { complete: false, decode: () => Promise.reject(new Error("no")), src: "x" });
    await expect(imagePayload(broken)).rejects.toMatchObject({ code: "image-decode" });
  });

  it("copies ImageData, and leaves other colour spaces to the canvas", async () => {
    const data = new Uint8ClampedArray([1, 2, 3, 4]);
    const payload = await imagePayload(lookAlike("ImageData", { width: 1, height: 1, data, colorSpace: "srgb" }));
    expect(payload).toMatchObject({ kind: "pixels" });
    expect(payload.kind === "pixels" && [...new Uint8Array(payload.rgba)]).toEqual([1, 2, 3, 4]);
    expect(drawn).toEqual([]);
    await imagePayload(lookAlike("ImageData", { width: 1, height: 1, data, colorSpace: "display-p3" }));
    expect(drawn).toHaveLength(1);
  });

  it.each([
    ["SecurityError", "image-cors"],
    ["InvalidStateError", "image-decode"],
    ["RangeError", "image-too-large"],
  ])("reports a %s as %s", async (name, code) => {
    draw = () => {
      throw Object.assign(new Error("from the canvas"), { name });
    };
    await expect(imagePayload(lookAlike("ImageBitmap", { width: 1, height: 1 }))).rejects.toMatchObject({ code });
  });

  it("refuses what is no image, or has no pixels yet", async () => {
    await expect(imagePayload(lookAlike("ImageBitmap", { width: 0, height: 0 }))).rejects.toMatchObject({ code: "image-decode" });
    await expect(imagePayload(lookAlike("HTMLVideoElement", { readyState: 0 }))).rejects.toMatchObject({ code: "invalid-argument" });
    for (const wrong of [undefined, null, 7, {}, new Float32Array(1)]) {
      await expect(imagePayload(wrong as unknown as ImageInput)).rejects.toMatchObject({ code: "invalid-argument" });
    }
  });
});
