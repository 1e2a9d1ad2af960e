/**
 * The small model that ships in `dist/model`. Each file is named in full, because that is the form of which bundlers
 * know that it is an asset to be copied; `scripts/build.mjs` checks that the list is complete.
 */
export function bundledModel(): Record<string, string> {
  return {
    "open_clip_config.json": new URL("./model/open_clip_config.json", import.meta.url).href,
    "tokenizer.json": new URL("./model/tokenizer.json", import.meta.url).href,
    "coca.json": new URL("./model/coca.json", import.meta.url).href,
    "open_clip_model.safetensors": new URL("./model/open_clip_model.safetensors", import.meta.url).href,
  };
}
