import { describe, expect, it } from "vitest";
import { folderAddress } from "../../src/folder.js";

describe("folderAddress", () => {
  it.each([
    ["hf:laion/CoCa-ViT-B-32", "https://huggingface.co/laion/CoCa-ViT-B-32/resolve/main/"],
    ["hf:a/b@v1.0", "https://huggingface.co/a/b/resolve/v1.0/"],
    ["hf:a/b@refs/pr/1", "https://huggingface.co/a/b/resolve/refs%2Fpr%2F1/"],
    ["https://host.test/model?key=1", "https://host.test/model/?key=1"],
  ])("takes %s", (source, address) => expect(folderAddress(source)).toBe(address));

  it.each(["hf:", "hf:name", "hf:a/b/c", "hf:../x", "hf:a/b@", "https://host.test/x/model.safetensors"])("refuses %s", (source) => {
    expect(() => folderAddress(source)).toThrow(expect.objectContaining({ code: "invalid-argument" }));
  });
});
