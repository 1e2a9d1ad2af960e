/** The generated bindings; `scripts/build.mjs` puts the real module in place and checks it against these types. */
declare module "coca-bindings" {
  import type { Glue } from "./worker/wasm.js";
  const initialise: Glue["default"];
  export default initialise;
  export const install: Glue["install"];
  export const CocaDevice: Glue["CocaDevice"];
  export const CocaLoading: Glue["CocaLoading"];
}
