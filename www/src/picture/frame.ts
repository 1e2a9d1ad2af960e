import modelConfig from "coca-wasm/model/open_clip_config.json";
import { announce, byId } from "../dom";
import { isOwn, type Engine } from "../engine/engine";
import type { Picture } from "./picture";
import type { Store } from "../store";

/** Hangs the picture, and shows beside it how little of it the page's own small model sees. */
export function showPicture(picture: Store<Picture | undefined>, engine: Engine): void {
  const image = byId("picture", HTMLImageElement);
  const sees = byId("sees", HTMLElement);
  const refreshSees = (): void => {
    const shown = picture.get();
    // How large another model's input is, the page does not know.
    sees.hidden = shown === undefined || !isOwn(engine.wanted);
    if (!sees.hidden) drawSees(image);
  };
  picture.watch((shown) => {
    image.hidden = shown === undefined;
    byId("frame-empty", HTMLSpanElement).hidden = shown !== undefined;
    if (shown === undefined) return refreshSees();
    image.src = shown.url;
    image.alt = `The chosen picture: ${shown.name}`;
    image.classList.toggle("small", Math.max(shown.width, shown.height) <= 128);
    announce(`Picture: ${shown.name}, ${shown.width} by ${shown.height} pixels.`);
    image.decode().then(refreshSees, () => undefined);
  });
  engine.state.watch(refreshSees);
}

/** The same cut and size as the model's input; the browser's scaling is close enough for the eye. */
function drawSees(image: HTMLImageElement): void {
  const { naturalWidth: width, naturalHeight: height } = image;
  if (width === 0 || height === 0) return;
  const size = inputSize();
  const canvas = byId("sees-canvas", HTMLCanvasElement);
  canvas.width = canvas.height = size;
  const context = canvas.getContext("2d");
  if (context === null) return;
  context.fillStyle = "#fff";
  context.fillRect(0, 0, size, size);
  context.imageSmoothingQuality = "high";
  const side = Math.min(width, height);
  context.drawImage(image, (width - side) / 2, (height - side) / 2, side, side, 0, 0, size, size);
  byId("sees-text", HTMLElement).textContent = `What the model sees: ${size} × ${size} pixels`;
}

function inputSize(): number {
  const size: number | readonly number[] = modelConfig.model_cfg.vision_cfg.image_size;
  return typeof size === "number" ? size : (size[0] ?? 64);
}
