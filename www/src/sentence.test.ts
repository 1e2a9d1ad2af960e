import { expect, it } from "vitest";
import { sentence } from "./sentence";

it("makes a sentence of a message", () => {
  expect(sentence("the server did not answer")).toBe("The server did not answer.");
  expect(sentence("Why? ")).toBe("Why?");
});

it("leaves the name of a file as it is", () => {
  expect(sentence("open_clip_model.safetensors: the header is too long")).toBe(
    "open_clip_model.safetensors: the header is too long.",
  );
  expect(sentence("models/tiny has no config")).toBe("models/tiny has no config.");
});
