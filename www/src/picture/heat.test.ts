import { describe, expect, it } from "vitest";
import { heatInWords, smoothHeat } from "./heat";

const whole = { x: 0, y: 0, width: 1, height: 1 };

/** A grid of noughts with one 1. */
function spot(columns: number, rows: number, at: number): Float32Array {
  const heat = new Float32Array(columns * rows);
  heat[at] = 1;
  return heat;
}

describe("smoothHeat", () => {
  it("is strongest where the patch is, at 1, and fades from there", () => {
    const size = 40;
    const smooth = smoothHeat(spot(8, 8, 2 * 8 + 5), { columns: 8, rows: 8 }, size);
    const at = (x: number, y: number): number => smooth[y * size + x] ?? NaN;
    expect(Math.max(...smooth)).toBeCloseTo(1);
    expect(at(27, 12)).toBeGreaterThan(0.95);
    expect(at(32, 12)).toBeLessThan(at(29, 12));
    expect(at(2, 38)).toBeLessThan(0.01);
  });
  it("stays level where all patches are the same, edges too", () => {
    const smooth = smoothHeat(new Float32Array(12).fill(1 / 12), { columns: 4, rows: 3 }, 20);
    expect(Math.min(...smooth)).toBeGreaterThan(0.999);
  });
  it("keeps nothing nothing", () => {
    expect(Math.max(...smoothHeat(new Float32Array(4), { columns: 2, rows: 2 }, 4))).toBe(0);
  });
});

describe("heatInWords", () => {
  it("names the place and its share", () => {
    expect(heatInWords(spot(3, 3, 0), { columns: 3, rows: 3, region: whole })).toBe(
      "at the top left (100 %)",
    );
    expect(heatInWords(spot(3, 3, 4), { columns: 3, rows: 3, region: whole })).toBe("at the centre (100 %)");
    expect(heatInWords(spot(3, 3, 7), { columns: 3, rows: 3, region: whole })).toBe("at the bottom (100 %)");
  });
  it("says so where it is spread", () => {
    const even = new Float32Array(9).fill(1 / 9);
    expect(heatInWords(even, { columns: 3, rows: 3, region: whole })).toMatch(/^all over the picture/);
  });
  it("counts in fractions of the picture, not of the cut", () => {
    // The middle third of a wide picture: the left edge of the cut is the centre of the picture.
    const region = { x: 1 / 3, y: 0, width: 1 / 3, height: 1 };
    expect(heatInWords(spot(3, 3, 3), { columns: 3, rows: 3, region })).toBe("at the centre (100 %)");
  });
});
