import { defineConfig } from "@playwright/test";
import { withoutGpu } from "./support/chromium";
import { environment } from "./support/environment";
import type { Device } from "./support/test";

/** Models of the size of the published ones; run with `cargo xtask bench --large`. */
export default defineConfig<object, { device: Device }>({
  testDir: "large",
  testMatch: "*.test.ts",
  outputDir: "../../target/browser-tests",
  globalSetup: "./support/global-setup.ts",
  reporter: "list",
  workers: 1,
  timeout: 30 * 60_000,
  use: { device: "cpu", launchOptions: { executablePath: environment.chromium(), args: withoutGpu } },
});
