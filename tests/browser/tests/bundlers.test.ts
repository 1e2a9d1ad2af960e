// The package in a page of webpack and in one without any bundler, under the same strict policy. (Vite's page is the one
// that all other tests use.)
import { expect, test, watch } from "../support/test";

for (const name of ["WEBPACK", "PLAIN"]) {
  test(`works with ${name.toLowerCase()}`, async ({ browser }) => {
    const address = process.env[`COCA_TEST_${name}`];
    if (address === undefined) throw new Error("the set-up has not run");
    const page = await (await browser.newContext()).newPage();
    const [errors, requests]: [string[], string[]] = [[], []];
    watch(page, errors, requests);
    await page.goto(address);
    await page.waitForFunction(() => "coca" in window);
    const outcome = await page.evaluate(async () => {
      const model = await window.coca.CoCa.load(undefined, { device: "cpu" });
      const labels = await model.classify("pictures/red-circle.png", ["a cat", "a red circle"]);
      const { caption } = await model.caption("pictures/red-circle.png");
      await model.dispose();
      return { best: labels[0]?.label, caption, selfTest: model.info.selfTestError };
    });
    expect(outcome.best).toBe("a red circle");
    expect(outcome.caption).not.toBe("");
    expect(outcome.selfTest).toBeLessThan(1e-3);
    expect(errors).toEqual([]);
    expect(requests.filter((request) => !request.startsWith(address))).toEqual([]);
    // The wasm with WebGPU in it is not fetched for the CPU.
    const wasm = requests.filter((request) => request.endsWith(".wasm"));
    expect(wasm).toHaveLength(1);
    await page.context().close();
  });
}
