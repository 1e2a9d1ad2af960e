/** What `cargo xtask test --only browser` hands over. */
function required(name: string): string {
  const value = process.env[name];
  if (value === undefined || value === "") throw new Error(`${name} is not set: run these tests with cargo xtask test --only browser`);
  return value;
}

export const environment = {
  /** The browser to drive. */
  chromium: () => required("CHROMIUM"),
  /** A Firefox to drive too, if there is one. */
  firefox: () => process.env["FIREFOX"] || undefined,
  /** The packed npm package. */
  tarball: () => required("COCA_TARBALL"),
  /** The folder of the built demo page. */
  page: () => required("COCA_PAGE"),
  /** The native command. */
  cocaTrain: () => required("COCA_TRAIN"),
  /** The model folder that is inside the package. */
  model: () => required("COCA_MODEL"),
  /** The golden checks, compiled to wasm, and the numbers they compare with. */
  golden: () => [required("COCA_GOLDEN"), required("COCA_GOLDEN_DATA")],
  /** Where the demo page's screenshots go. */
  screenshots: () => required("COCA_SCREENSHOTS"),
};
