import { describe, expect, it } from "vitest";
import { snippet } from "./snippet";

const setting = { device: "auto", view: "picture", image: "input.files[0]" } as const;

describe("snippet", () => {
  it("loads the shipped model when no other was named", () => {
    expect(snippet(setting, {})).toBe(
      'import { CoCa } from "coca-wasm";\n\nconst model = await CoCa.load();\nconst image = input.files[0];',
    );
  });
  it("names the model and the device that were used", () => {
    const model = "https://hub.example/coca/";
    expect(snippet({ ...setting, device: "cpu" }, {})).toContain('CoCa.load(undefined, { device: "cpu" });');
    expect(snippet({ ...setting, model }, {})).toContain(`CoCa.load("${model}");`);
    expect(snippet({ ...setting, model, device: "webgpu" }, {})).toContain(
      `CoCa.load("${model}", { device: "webgpu" });`,
    );
  });
  it("quotes what was typed", () => {
    const code = snippet(setting, { classify: { labels: ['a "cat"', "back\\slash"], template: "a {}" } });
    expect(code).toContain('model.classify(image, ["a \\"cat\\"", "back\\\\slash"], { template: "a {}" });');
  });
  it("leaves out what was not set", () => {
    const code = snippet(setting, {
      classify: { labels: ["a"], template: "" },
      caption: { prefix: "", search: { kind: "greedy" } },
      answer: { question: "is it red?", choices: [] },
    });
    expect(code).toContain('model.classify(image, ["a"]);');
    expect(code).toContain("of model.captionStream(image))");
    expect(code).toContain('const { answer } = await model.answer(image, "is it red?");');
  });
  it("shows beams, chance and choices", () => {
    const beams = snippet(setting, { caption: { prefix: "a cat", search: { kind: "beams", beams: 4 } } });
    expect(beams).toContain('const { caption } = await model.caption(image, { prefix: "a cat", beams: 4 });');
    const chance = snippet(setting, {
      caption: { prefix: "", search: { kind: "sample", topK: 10, seed: 3 } },
    });
    expect(chance).toContain("captionStream(image, { topK: 10, seed: 3 })");
    const choices = snippet(setting, { answer: { question: "red?", choices: ["yes", "no"] } });
    expect(choices).toContain('model.answer(image, "red?", { choices: ["yes", "no"] });');
  });
  it("is JavaScript", () => {
    const labels = Array.from({ length: 12 }, (_, index) => `label number ${index}`);
    const body = snippet(setting, { classify: { labels, template: "{}" } }).replace(/^import.*$/m, "");
    expect(() => new Function("CoCa", "input", `return (async () => {${body}\n})`)).not.toThrow();
  });
});
