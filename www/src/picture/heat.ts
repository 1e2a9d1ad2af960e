import type { Explanation } from "coca-wasm";

type Grid = Pick<Explanation, "columns" | "rows">;

/**
 * The heat of a word as a smooth square of `size` × `size` values between 0 and 1, the strongest at 1: each is the mean
 * of the patches around it, weighted by a Gaussian of 0.7 patches.
 */
export function smoothHeat(heat: ArrayLike<number>, { columns, rows }: Grid, size: number): Float32Array {
  const across = weights(columns, size);
  const down = weights(rows, size);
  const half = new Float32Array(rows * size);
  for (let row = 0; row < rows; row += 1) {
    for (let x = 0; x < size; x += 1) {
      let sum = 0;
      for (let column = 0; column < columns; column += 1) {
        sum += (across[x * columns + column] ?? 0) * (heat[row * columns + column] ?? 0);
      }
      half[row * size + x] = sum;
    }
  }
  const smooth = new Float32Array(size * size);
  let most = 0;
  for (let y = 0; y < size; y += 1) {
    for (let x = 0; x < size; x += 1) {
      let sum = 0;
      for (let row = 0; row < rows; row += 1)
        sum += (down[y * rows + row] ?? 0) * (half[row * size + x] ?? 0);
      smooth[y * size + x] = sum;
      most = Math.max(most, sum);
    }
  }
  return most > 0 ? smooth.map((value) => value / most) : smooth;
}

/** For each of `size` points along a side: how much each of `cells` counts, as rows that sum to 1. */
function weights(cells: number, size: number): Float32Array {
  const table = new Float32Array(size * cells);
  for (let point = 0; point < size; point += 1) {
    const at = ((point + 0.5) / size) * cells - 0.5;
    let sum = 0;
    for (let cell = 0; cell < cells; cell += 1) {
      const weight = Math.exp(-((cell - at) ** 2) / (2 * 0.7 ** 2));
      table[point * cells + cell] = weight;
      sum += weight;
    }
    for (let cell = 0; cell < cells; cell += 1) table[point * cells + cell]! /= sum;
  }
  return table;
}

const down = ["top", "middle", "bottom"] as const;
const across = ["left", "centre", "right"] as const;

/** In words where the heat is: the ninth of the picture that holds most of it, and how much. */
export function heatInWords(
  heat: ArrayLike<number>,
  { columns, rows, region }: Pick<Explanation, "columns" | "rows" | "region">,
): string {
  const ninths = new Float32Array(9);
  let total = 0;
  for (let cell = 0; cell < columns * rows; cell += 1) {
    const x = region.x + (region.width * ((cell % columns) + 0.5)) / columns;
    const y = region.y + (region.height * (Math.floor(cell / columns) + 0.5)) / rows;
    const ninth = third(y) * 3 + third(x);
    ninths[ninth]! += heat[cell] ?? 0;
    total += heat[cell] ?? 0;
  }
  const best = ninths.indexOf(Math.max(...ninths));
  const share = total > 0 ? (ninths[best] ?? 0) / total : 0;
  const place = placeName(best);
  const percent = `${Math.round(100 * share)} %`;
  return share < 0.25
    ? `all over the picture, most at the ${place} (${percent})`
    : `at the ${place} (${percent})`;
}

function third(fraction: number): number {
  return Math.min(2, Math.max(0, Math.floor(fraction * 3)));
}

function placeName(ninth: number): string {
  const [row, column] = [down[Math.floor(ninth / 3)] ?? "middle", across[ninth % 3] ?? "centre"];
  if (row === "middle") return column;
  return column === "centre" ? row : `${row} ${column}`;
}
