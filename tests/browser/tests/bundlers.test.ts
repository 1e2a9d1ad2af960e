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
      // As if it split texts by CLIP's vocabulary: its weights are then of the wrong shape, which is found after that.
      const config = await (await fetch("models/whole/open_clip_config.json")).json();
      Object.assign(config.model_cfg.text_cfg, { vocab_size: 49408, hf_tokenizer_name: null });
      delete config.model_cfg.multimodal_cfg?.vocab_size;
      const weights = await (await fetch("models/whole/open_clip_model.safetensors")).blob();
      const files = { "open_clip_config.json": new Blob([JSON.stringify(config)]), "open_clip_model.safetensors": weights };
      const refused = await window.coca.CoCa.load(files, { device: "cpu" }).then(
        () => "loaded",
        (error: unknown) => (error as { code?: string }).code,
      );
      return { best: labels[0]?.label, caption, selfTest: model.info.selfTestError, refused };
    });
    expect(outcome.best).toBe("a red circle");
    expect(outcome.caption).not.toBe("");
    expect(outcome.selfTest).toBeLessThan(1e-3);
    expect(errors).toEqual([]);
    expect(requests.filter((request) => !request.startsWith(address))).toEqual([]);
    // The wasm with WebGPU in it is not fetched for the CPU.
    expect(outcome.refused).toBe("weights-invalid");
    expect(requests.filter((request) => /clip_vocabulary|\.bin$/.test(request))).toHaveLength(1);
    const wasm = requests.filter((request) => request.endsWith(".wasm"));
    expect(new Set(wasm).size).toBe(1);
    await page.context().close();
  });
}
