import * as coca from "coca-wasm";

declare global {
  interface Window {
    /** The package, for the tests that drive this page. */
    coca: typeof coca;
    /** The model of the test file that drives this page. */
    model: coca.CoCa;
  }
}

window.coca = coca;
