import { defineConfig } from "@playwright/test";
import { withoutGpu, withSwiftShader } from "./support/chromium";
import { environment } from "./support/environment";
import type { Device } from "./support/test";

/** Models of the size of the published ones; run with `cargo xtask bench --large`. */
export default defineConfig<object, { device: Device }>({
  testDir: "large",
  outputDir: "../../target/browser-tests",
  globalSetup: "./support/global-setup.ts",
  reporter: "list",
  workers: 1,
  timeout: 30 * 60_000,
  projects: [
    {
      name: "cpu",
      testMatch: "load.test.ts",
      use: { device: "cpu", launchOptions: { executablePath: environment.chromium(), args: withoutGpu } },
    },
    {
      name: "webgpu",
      testMatch: "memory.test.ts",
      use: { device: "webgpu", launchOptions: { executablePath: environment.chromium(), args: withSwiftShader } },
    },
  ],
});
