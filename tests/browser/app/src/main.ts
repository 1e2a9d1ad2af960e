import * as coca from "coca-wasm";

/** Loads a model, uses it, and disposes of it. */
async function withModel<T>(
  source: coca.ModelSource | undefined,
  options: coca.LoadOptions,
  use: (model: coca.CoCa) => T | Promise<T>,
): Promise<T> {
  await using model = await coca.CoCa.load(source, options);
  return await use(model);
}

declare global {
  /** What the tests that drive this page find on it. */
  interface Window {
    coca: typeof coca;
    withModel: typeof withModel;
    /** The model that the tests of a project share. */
    model: coca.CoCa;
  }
}

Object.assign(window, { coca, withModel });
