// The golden checks of tests/golden, compiled to wasm: the model gives open_clip's numbers in a browser too.
import { fileURLToPath } from "node:url";
import { test as base, expect, type Page } from "@playwright/test";
import { environment } from "../support/environment";
import { serve } from "../support/static-server";
import { watch, type Device } from "../support/test";

/** What tests/golden/src/browser.rs exports. */
interface Checks {
  default(options: { module_or_path: string }): Promise<unknown>;
  GoldenDevice: { open(kind: string): Promise<GoldenDevice> };
  use_kernels(on: boolean): void;
  use_forms_of_gpus(gpu: boolean): void;
}
interface GoldenDevice {
  kernels(name: string): Promise<number>;
  check(name: string, json: Uint8Array, weights: Uint8Array): Promise<number>;
}
declare global {
  interface Window {
    golden: GoldenDevice;
    useKernels: (on: boolean) => void;
    useFormsOfGpus: (gpu: boolean) => void;
  }
}

const test = base.extend<object, { device: Device }>({ device: ["cpu", { option: true, scope: "worker" }] });

const models = ["tiny", "tiny_nopool", "tiny_cascade", "tiny_parallel", "tiny_quickgelu_ls", "tiny_bias"].map((name) => `model_${name}`);
const allKernels = ["products", "quantised_products", "normalised_products", "lookups", "largest", "layer_norms", "attentions", "cached_attentions"];
const checks: readonly [string, readonly string[]][] = [
  ["outputs", models],
  ["outputs_in_fewer_bits", ["model_tiny"]],
  ["losses", ["model_tiny"]],
  ["cached_equals_uncached", ["model_tiny"]],
];

for (const wasm of ["coca_golden_relaxed_bg.wasm", "coca_golden_bg.wasm"]) {
  test(`every check passes on this device: ${wasm}`, async ({ page, device }) => {
    test.skip(device === "webgpu" && wasm.includes("relaxed"), "for the CPU; WebGPU's wasm is without relaxed instructions");
    await checkAll(page, device, wasm);
  });
}

async function checkAll(page: Page, device: Device, wasm: string): Promise<void> {
  const blank = fileURLToPath(new URL("../blank", import.meta.url));
  const { server, address } = await serve(
    [blank, ...environment.golden()],
    "script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'",
  );
  const errors: string[] = [];
  watch(page, errors, []);
  await page.goto(address);
  await page.evaluate(async ([device, wasm]) => {
    const module = (await import(new URL("/coca_golden.js", location.href).href)) as Checks;
    await module.default({ module_or_path: `/${wasm}` });
    window.golden = await module.GoldenDevice.open(device);
    window.useKernels = module.use_kernels;
    window.useFormsOfGpus = module.use_forms_of_gpus;
  }, [device, wasm] as const);
  const run = (check: string, file: string): Promise<number> =>
    page.evaluate(
      async ([check, file]) => {
        const bytes = async (name: string) => new Uint8Array(await (await fetch(name)).arrayBuffer());
        return window.golden.check(check, await bytes(`${file}.json`), await bytes(`${file}.safetensors`));
      },
      [check, file] as const,
    );
  for (const gpu of device === "webgpu" ? [true, false] : [false]) {
    await page.evaluate((gpu) => window.useFormsOfGpus(gpu), gpu);
    for (const kernels of allKernels) {
      const error = await page.evaluate((name) => window.golden.kernels(name), kernels);
      console.log(`${device}, forms of ${gpu ? "GPUs" : "CPUs"}: ${kernels} within ${error.toExponential(1)}`);
    }
    if (gpu) {
      const error = await run("recorded_steps", "model_tiny");
      console.log(`${device}, steps that were recorded: within ${error.toExponential(1)}`);
      expect(error).toBeLessThan(1e-3);
    }
  }
  for (const on of device === "webgpu" ? [true, false] : [true]) {
    await page.evaluate((on) => window.useKernels(on), on);
    // Without kernels nothing stays in fewer bits.
    for (const [check, files] of checks.filter(([check]) => on || check !== "outputs_in_fewer_bits")) {
      for (const file of files) {
        const error = await run(check, file);
        console.log(`${device}, kernels ${on ? "on" : "off"}, ${file}: ${check} within ${error.toExponential(1)}`);
        expect(error).toBeLessThan(1e-3);
      }
    }
  }
  if (device === "cpu") {
    // Minutes on a software GPU, with no kernel that was not checked above.
    const calls = await run("generated_ids", "gen_tiny");
    console.log(`${device}, gen_tiny: ${calls} calls generate the same ids`);
    expect(calls).toBeGreaterThan(0);
  }
  expect(errors).toEqual([]);
  server.close();
}
