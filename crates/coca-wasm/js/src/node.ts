/// <reference lib="esnext.disposable" preserve="true" />
/** The package's entry in Node.js. */
import { nodePlatform } from "./node-platform.js";
import { usePlatform } from "./platform.js";

usePlatform(nodePlatform);

export * from "./index.js";
