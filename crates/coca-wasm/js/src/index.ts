/// <reference lib="esnext.disposable" preserve="true" />
export { CaptionStream } from "./caption-stream.js";
export { Classifier } from "./classifier.js";
export { CoCa } from "./coca.js";
export { CocaError, type CocaErrorCode } from "./error.js";
export { ImageIndex } from "./image-index.js";
export type * from "./types.js";
