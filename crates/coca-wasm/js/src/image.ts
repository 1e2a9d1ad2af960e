import { CocaError } from "./error.js";
import { absoluteUrl } from "./platform.js";
import type { ImagePayload } from "./protocol.js";
import type { ImageInput } from "./types.js";

/**
 * Makes an image ready to be sent to the worker. Canvases, bitmaps, videos and frames are read out before this
 * function first waits, so that the caller may close or redraw them right after the call.
 */
export async function imagePayload(image: ImageInput, keys: BlobKeys): Promise<ImagePayload> {
  if (typeof image === "string") return { kind: "url", url: absoluteUrl(image) };
  // By class name rather than `instanceof`: images of other frames and polyfills count, and absent classes do not hurt.
  switch (className(image)) {
    case "Blob":
    case "File":
      return encoded(image as Blob, keys);
    case "Uint8Array":
    case "ArrayBuffer":
      // A copy, because the caller may write to it.
      return encoded(new Blob([image as Uint8Array<ArrayBuffer> | ArrayBuffer]), keys);
    case "URL":
      return { kind: "url", url: (image as URL).href };
    case "ImageData":
      return fromImageData(image as ImageData);
    case "HTMLCanvasElement":
    case "OffscreenCanvas":
    case "ImageBitmap": {
      const source = image as HTMLCanvasElement | OffscreenCanvas | ImageBitmap;
      return readPixels(source, source.width, source.height);
    }
    case "VideoFrame": {
      const frame = image as VideoFrame;
      return readPixels(frame, frame.displayWidth, frame.displayHeight);
    }
    case "HTMLVideoElement": {
      const video = image as HTMLVideoElement;
      if (video.readyState < 2) {
        throw new CocaError("invalid-argument", "the video has no current frame yet; wait for its `loadeddata` event");
      }
      return readPixels(video, video.videoWidth, video.videoHeight);
    }
    case "HTMLImageElement":
      return fromImageElement(image as HTMLImageElement);
    default:
      throw new CocaError(
        "invalid-argument",
        `${describe(image)} is not an image: give a Blob, File, URL, <img>, <canvas>, <video>, OffscreenCanvas, ` +
          "ImageBitmap, ImageData, VideoFrame, or the bytes of an image file",
      );
  }
}

function encoded(file: Blob, keys: BlobKeys): ImagePayload {
  // A File is more than all engines can send; a slice of one is a Blob, and copies nothing.
  return { kind: "encoded", blob: className(file) === "File" ? file.slice() : file, key: keys.of(file) };
}

/** Numbers Blobs, so that the worker can recognise one without comparing its bytes. */
export class BlobKeys {
  readonly #keys = new WeakMap<Blob, number>();
  #next = 0;

  /** The number of a Blob, always the same. */
  of(blob: Blob): number {
    const key = this.#keys.get(blob) ?? this.#next++;
    this.#keys.set(blob, key);
    return key;
  }
}

/** The buffers of the payloads, to be moved to the worker instead of copied. */
export function transferList(images: readonly ImagePayload[]): Transferable[] {
  return images.flatMap((image) => (image.kind === "pixels" ? [image.rgba] : []));
}

async function fromImageElement(image: HTMLImageElement): Promise<ImagePayload> {
  if (!image.complete) {
    try {
      await image.decode();
    } catch (cause) {
      throw new CocaError("image-decode", `the <img> did not load: ${image.currentSrc || image.src}`, { cause });
    }
  }
  return readPixels(image, image.naturalWidth, image.naturalHeight);
}

function fromImageData(image: ImageData): ImagePayload {
  const { width, height, data } = image;
  if (image.colorSpace === "srgb" && data.BYTES_PER_ELEMENT === 1) {
    return { kind: "pixels", width, height, rgba: new Uint8Array(data).buffer };
  }
  // Other colour spaces and sample formats: the canvas converts.
  return withContext(width, height, (context) => context.putImageData(image, 0, 0));
}

function readPixels(source: CanvasImageSource, width: number, height: number): ImagePayload {
  return withContext(width, height, (context) => {
    // Drawn at its own size: scaling is left to the same code that prepared the training images.
    context.drawImage(source, 0, 0, width, height);
  });
}

function withContext(width: number, height: number, draw: (context: Context2D) => void): ImagePayload {
  if (!(width > 0 && height > 0)) {
    throw new CocaError("image-decode", "the image has no pixels: it is empty, closed, or failed to load");
  }
  try {
    const context = context2d(width, height);
    draw(context);
    const { data } = context.getImageData(0, 0, width, height, { colorSpace: "srgb" });
    return { kind: "pixels", width, height, rgba: data.buffer as ArrayBuffer };
  } catch (cause) {
    if (cause instanceof CocaError) throw cause;
    throw readOutError(cause, width, height);
  }
}

type Context2D = OffscreenCanvasRenderingContext2D | CanvasRenderingContext2D;

function context2d(width: number, height: number): Context2D {
  const settings: CanvasRenderingContext2DSettings = { willReadFrequently: true };
  let context: Context2D | null;
  if (typeof OffscreenCanvas === "undefined") {
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = height;
    context = canvas.getContext("2d", settings);
  } else {
    context = new OffscreenCanvas(width, height).getContext("2d", settings);
  }
  if (!context) throw new CocaError("image-too-large", `no canvas of ${width} x ${height} pixels can be made here`);
  return context;
}

function readOutError(cause: unknown, width: number, height: number): CocaError {
  const name = cause instanceof Error ? cause.name : "";
  if (name === "SecurityError") {
    return new CocaError(
      "image-cors",
      'the image comes from another origin that does not let this page read it; load it with crossOrigin="anonymous" ' +
        "from a server that sends Access-Control-Allow-Origin",
      { cause },
    );
  }
  if (name === "RangeError") {
    return new CocaError("image-too-large", `${width} x ${height} pixels do not fit into memory`, { cause });
  }
  return new CocaError("image-decode", `the image cannot be read: ${String(cause)}`, { cause });
}

function className(value: unknown): string {
  return Object.prototype.toString.call(value).slice("[object ".length, -1);
}

function describe(value: unknown): string {
  return value === null || typeof value !== "object" ? String(value) : `an object of class ${className(value)}`;
}
