import { describe, expect, it } from "vitest";
import { parseModelAddress, readUrl, writeUrl } from "./url-state";

const page = "https://demo.example/coca/index.html";

describe("readUrl", () => {
  it("defaults to the shipped model and an automatic device", () => {
    expect(readUrl(page)).toEqual({ device: "auto" });
  });
  it("reads both parameters", () => {
    expect(readUrl(`${page}?device=cpu&model=https%3A%2F%2Fhub.example%2Fcoca`)).toEqual({
      device: "cpu",
      model: "https://hub.example/coca",
    });
  });
  it("resolves a relative folder against the page", () => {
    expect(readUrl(`${page}?model=models/tiny/`).model).toBe("https://demo.example/coca/models/tiny/");
  });
  it("ignores an unknown device and an address that is not http", () => {
    expect(readUrl(`${page}?device=tpu&model=javascript:alert(1)`)).toEqual({ device: "auto" });
  });
});

describe("writeUrl", () => {
  it("comes back as it was", () => {
    const state = { device: "webgpu", model: "https://hub.example/a b/?x=1&y=2" } as const;
    const back = readUrl(writeUrl(`${page}?lang=en#engine`, state));
    expect(back).toEqual({ device: "webgpu", model: new URL(state.model).href });
  });
  it("leaves no trace of the defaults and keeps the rest", () => {
    expect(writeUrl(`${page}?lang=en&device=cpu&model=x#engine`, { device: "auto" })).toBe(
      `${page}?lang=en#engine`,
    );
  });
});

describe("parseModelAddress", () => {
  it("is undefined for nothing and for nonsense", () => {
    expect(parseModelAddress("  ", page)).toBeUndefined();
    expect(parseModelAddress("https://", page)).toBeUndefined();
    expect(parseModelAddress("file:///etc/passwd", page)).toBeUndefined();
  });
});
