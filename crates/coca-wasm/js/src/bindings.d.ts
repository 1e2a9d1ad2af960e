/** The generated bindings; `scripts/build.mjs` puts the real modules in place and checks them against these types. */
declare module "coca-bindings" {
  import type { Glue } from "./worker/wasm.js";
  const initialise: Glue["default"];
  export default initialise;
  export const install: Glue["install"];
  export const CocaDevice: Glue["CocaDevice"];
  export const CocaLoading: Glue["CocaLoading"];
}

/** Those of the wasm that has only the CPU in it. */
declare module "coca-cpu-bindings" {
  import type { Glue } from "./worker/wasm.js";
  const initialise: Glue["default"];
  export default initialise;
  export const install: Glue["install"];
  export const CocaDevice: Glue["CocaDevice"];
  export const CocaLoading: Glue["CocaLoading"];
}
