// The golden checks of tests/golden, compiled to wasm: the model gives open_clip's numbers in a browser too.
import { test as base, expect } from "@playwright/test";
import { environment } from "../support/environment";
import { serve } from "../support/static-server";
import { watch, type Device } from "../support/test";

/** What tests/golden/src/browser.rs exports. */
interface Checks {
  default(options: { module_or_path: string }): Promise<unknown>;
  GoldenDevice: { open(kind: string): Promise<GoldenDevice> };
}
interface GoldenDevice {
  check(name: string, json: Uint8Array, weights: Uint8Array): Promise<number>;
}
declare global {
  interface Window {
    golden: GoldenDevice;
  }
}

const test = base.extend<object, { device: Device }>({ device: ["cpu", { option: true, scope: "worker" }] });

const everyModel = ["tiny", "tiny_nopool", "tiny_cascade", "tiny_parallel", "tiny_quickgelu_ls", "tiny_bias"];
const checks = { outputs: everyModel, losses: everyModel, cached_equals_uncached: ["tiny"] };

test("every check passes on this device", async ({ page, device }) => {
  const { server, address } = await serve(environment.golden(), "script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'");
  const errors: string[] = [];
  watch(page, errors, []);
  // Any file of the server makes the page its own.
  await page.goto(`${address}model_tiny.json`);
  await page.evaluate(async (device) => {
    const module = (await import(new URL("/coca_golden.js", location.href).href)) as Checks;
    await module.default({ module_or_path: "/coca_golden_bg.wasm" });
    window.golden = await module.GoldenDevice.open(device);
  }, device);
  for (const [check, models] of Object.entries(checks)) {
    for (const model of models) {
      const error = await page.evaluate(
        async ([check, model]) => {
          const bytes = async (name: string) => new Uint8Array(await (await fetch(`/${name}`)).arrayBuffer());
          return window.golden.check(check, await bytes(`model_${model}.json`), await bytes(`model_${model}.safetensors`));
        },
        [check, model] as const,
      );
      console.log(`${device}, ${model}: ${check} within ${error.toExponential(1)}`);
      expect(error).toBeLessThan(1e-3);
    }
  }
  expect(errors).toEqual([]);
  server.close();
});
