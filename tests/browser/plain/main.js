import * as coca from "./coca-wasm/dist/index.js";

Object.assign(window, { coca });
