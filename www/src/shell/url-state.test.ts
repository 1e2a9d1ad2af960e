import { describe, expect, it } from "vitest";
import { hostOf, parseModelAddress, readUrl, writeUrl } from "./url-state";

const page = "https://demo.example/coca/index.html";

describe("readUrl", () => {
  it("defaults to the shipped model and an automatic device", () => {
    expect(readUrl(page)).toEqual({ device: "auto", view: "picture", texts: {} });
  });
  it("reads both parameters", () => {
    expect(readUrl(`${page}?device=cpu&model=https%3A%2F%2Fhub.example%2Fcoca`)).toEqual({
      device: "cpu",
      model: "https://hub.example/coca",
      view: "picture",
      texts: {},
    });
  });
  it("resolves a relative folder against the page", () => {
    expect(readUrl(`${page}?model=models/tiny/`).model).toBe("https://demo.example/coca/models/tiny/");
  });
  it("ignores an unknown device and an address that is not http", () => {
    expect(readUrl(`${page}?device=tpu&model=javascript:alert(1)`)).toEqual({
      device: "auto",
      view: "picture",
      texts: {},
    });
  });
});

describe("writeUrl", () => {
  it("comes back as it was", () => {
    const state = {
      device: "webgpu",
      model: "https://hub.example/a b/?x=1&y=2",
      view: "search",
      picture: "red-circle.png",
      texts: { q: "a red & round thing", labels: "cat\ndog" },
    } as const;
    const back = readUrl(writeUrl(`${page}?lang=en#engine`, state));
    expect(back).toEqual({ ...state, model: new URL(state.model).href });
  });
  it("leaves no trace of the defaults and keeps the rest", () => {
    const address = `${page}?lang=en&device=cpu&model=x&view=live&q=red&picture=cat.png#engine`;
    expect(writeUrl(address, { device: "auto", view: "picture", texts: {} })).toBe(`${page}?lang=en#engine`);
  });
});

describe("what a link may ask for", () => {
  it("is an example by its file name, never a picture from elsewhere", () => {
    expect(readUrl(`${page}?picture=cat.png`).picture).toBe("cat.png");
    for (const bad of [
      "https://elsewhere.example/cat.png",
      "../secret.png",
      "//elsewhere.example/a.png",
      "cat.svg",
    ])
      expect(readUrl(`${page}?picture=${encodeURIComponent(bad)}`).picture).toBeUndefined();
  });
  it("is a room that there is", () => {
    expect(readUrl(`${page}?view=live`).view).toBe("live");
    expect(readUrl(`${page}?view=attic`).view).toBe("picture");
  });
  it("is not a text without an end", () => {
    expect(readUrl(`${page}?q=${"a".repeat(2000)}`).texts).toEqual({});
  });
});

describe("parseModelAddress", () => {
  it("takes a repository of the hub, with a revision or without", () => {
    expect(parseModelAddress(" hf:laion/CoCa-ViT-B-32 ", page)).toBe("hf:laion/CoCa-ViT-B-32");
    expect(parseModelAddress("hf:owner/name@refs/pr/1", page)).toBe("hf:owner/name@refs/pr/1");
    expect(parseModelAddress("hf:owner", page)).toBeUndefined();
    expect(hostOf("hf:owner/name")).toBe("huggingface.co");
    expect(hostOf("https://hub.example/coca/")).toBe("hub.example");
  });
  it("is undefined for nothing and for nonsense", () => {
    expect(parseModelAddress("  ", page)).toBeUndefined();
    expect(parseModelAddress("https://", page)).toBeUndefined();
    expect(parseModelAddress("file:///etc/passwd", page)).toBeUndefined();
  });
});
