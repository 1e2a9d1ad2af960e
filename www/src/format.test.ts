import { describe, expect, it } from "vitest";
import { bytes, count, duration, percent } from "./format";

describe("format", () => {
  it("writes bytes", () => {
    expect([0, 999, 1000, 5_120_000, 12_400_000, 999_600_000, 2.53e9].map(bytes)).toEqual([
      "0 B",
      "999 B",
      "1.0 kB",
      "5.1 MB",
      "12 MB",
      "1.0 GB",
      "2.5 GB",
    ]);
  });
  it("writes durations", () => {
    expect([0.04, 8.44, 9.96, 120.4, 999.6, 41_000].map(duration)).toEqual([
      "0.0 ms",
      "8.4 ms",
      "10 ms",
      "120 ms",
      "1.0 s",
      "41.0 s",
    ]);
  });
  it("writes counts", () => {
    expect([81, 12_345, 5_230_000, 1.2e9].map(count)).toEqual(["81", "12,345", "5.2 million", "1.2 billion"]);
  });
  it("never claims certainty that is not there", () => {
    expect([0, 0.0004, 0.5, 0.99951, 1].map(percent)).toEqual([
      "0.0 %",
      "< 0.1 %",
      "50.0 %",
      "> 99.9 %",
      "100.0 %",
    ]);
  });
});
