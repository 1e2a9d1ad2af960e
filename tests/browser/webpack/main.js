import * as coca from "coca-wasm";

Object.assign(window, { coca });
