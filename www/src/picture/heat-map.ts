import type { Explanation } from "coca-wasm";
import { smoothHeat } from "./heat";

/** Points along a side of the drawn heat; the browser smooths it up to the size of the picture. */
const size = 96;
/** How dark the picture gets where a word does not look. */
const shade = 0.82;

/** A spotlight over a picture: bright where a word looks, dark elsewhere, whatever the picture's own colours are. */
export class HeatMap {
  readonly #image: HTMLImageElement;
  readonly #canvas: HTMLCanvasElement;

  /** @param canvas lies over the image's box, which shows the whole picture in its middle (`object-fit: contain`) */
  constructor(image: HTMLImageElement, canvas: HTMLCanvasElement) {
    this.#image = image;
    this.#canvas = canvas;
  }

  show(explanation: Explanation, heat: ArrayLike<number>): void {
    const { naturalWidth, naturalHeight, clientWidth, clientHeight } = this.#image;
    if (naturalWidth === 0 || clientWidth === 0) return;
    const sharp = Math.min(2, devicePixelRatio);
    const [width, height] = [clientWidth * sharp, clientHeight * sharp];
    this.#canvas.width = width;
    this.#canvas.height = height;
    this.#canvas.hidden = false;
    const context = this.#canvas.getContext("2d");
    if (context === null) return;

    const scale = Math.min(width / naturalWidth, height / naturalHeight);
    const picture = { width: naturalWidth * scale, height: naturalHeight * scale };
    const left = (width - picture.width) / 2;
    const top = (height - picture.height) / 2;
    const { region } = explanation;
    const [x, y] = [left + region.x * picture.width, top + region.y * picture.height];
    const [w, h] = [region.width * picture.width, region.height * picture.height];
    context.beginPath();
    context.rect(left, top, picture.width, picture.height);
    // Where the model pads, its grid is larger than the picture.
    context.clip();
    context.fillStyle = `rgb(9 17 14 / ${shade})`;
    context.fillRect(left, top, picture.width, picture.height);
    context.clearRect(x, y, w, h);
    context.imageSmoothingQuality = "high";
    context.drawImage(light(smoothHeat(heat, explanation, size)), x, y, w, h);
  }

  hide(): void {
    this.#canvas.hidden = true;
  }
}

/** Darkness as a picture: clear where the heat is 1. */
function light(heat: Float32Array): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = size;
  const pixels = new ImageData(size, size);
  for (const [index, value] of heat.entries()) {
    pixels.data.set([9, 17, 14, Math.round(255 * shade * (1 - value))], 4 * index);
  }
  canvas.getContext("2d")?.putImageData(pixels, 0, 0);
  return canvas;
}
