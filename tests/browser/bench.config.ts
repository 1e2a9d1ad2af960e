import { defineConfig } from "@playwright/test";
import { withoutGpu, withWebGpu } from "./support/chromium";
import { environment } from "./support/environment";
import type { Device } from "./support/test";

export default defineConfig<object, { device: Device }>({
  testDir: "bench",
  testMatch: "*.bench.ts",
  outputDir: "../../target/browser-tests",
  globalSetup: "./support/global-setup.ts",
  reporter: "line",
  workers: 1,
  timeout: 30 * 60_000,
  projects: [
    { name: "cpu", use: { device: "cpu", launchOptions: { executablePath: environment.chromium(), args: withoutGpu } } },
    { name: "webgpu", use: { device: "webgpu", launchOptions: { executablePath: environment.chromium(), args: withWebGpu } } },
  ],
});
