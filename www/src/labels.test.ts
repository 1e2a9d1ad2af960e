import { describe, expect, it } from "vitest";
import { parseList, templateProblem } from "./labels";

describe("parseList", () => {
  it("splits at lines, commas and semicolons", () => {
    expect(parseList("a cat, a dog\na bird;a fish")).toEqual(["a cat", "a dog", "a bird", "a fish"]);
  });
  it("drops blanks and repetitions and keeps the order", () => {
    expect(parseList(" dog ,, cat\r\n\n dog,\t")).toEqual(["dog", "cat"]);
  });
  it("joins runs of spaces, so that equal labels are equal", () => {
    expect(parseList("hot  dog, hot dog")).toEqual(["hot dog"]);
  });
  it("is empty for nothing", () => {
    expect(parseList(" \n , ")).toEqual([]);
  });
});

describe("templateProblem", () => {
  it("accepts a template with a place for the label", () => {
    expect(templateProblem("a photo of a {}")).toBeUndefined();
  });
  it("explains a template without one", () => {
    expect(templateProblem("a photo")).toMatch(/\{\}/);
  });
});
