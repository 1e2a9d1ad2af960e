import { defineConfig } from "@playwright/test";
import { withoutGpu, withSwiftShader } from "./support/chromium";
import { environment } from "./support/environment";
import type { Device } from "./support/test";

const minute = 60_000;

export default defineConfig<{ device: Device }, { device: Device }>({
  testDir: "tests",
  testMatch: "*.test.ts",
  outputDir: "../../target/browser-tests",
  globalSetup: "./support/global-setup.ts",
  reporter: "list",
  forbidOnly: true,
  // A software GPU takes every core there is.
  workers: 1,
  use: { launchOptions: { executablePath: environment.chromium() } },
  projects: [
    {
      name: "cpu",
      testIgnore: ["demo-page.test.ts", "gpu-failures.test.ts", "firefox.test.ts"],
      timeout: 3 * minute,
      use: { device: "cpu", launchOptions: { executablePath: environment.chromium(), args: withoutGpu } },
    },
    {
      name: "webgpu",
      testMatch: ["tasks.test.ts", "golden.test.ts", "gpu-failures.test.ts"],
      timeout: 10 * minute,
      use: { device: "webgpu", launchOptions: { executablePath: environment.chromium(), args: withSwiftShader } },
    },
    // Started by its test, as Playwright drives only a Firefox of its own.
    { name: "firefox", testMatch: "firefox.test.ts", timeout: 5 * minute },
    {
      name: "page",
      testMatch: "demo-page.test.ts",
      timeout: 3 * minute,
      use: { device: "cpu", launchOptions: { executablePath: environment.chromium(), args: withoutGpu } },
    },
  ],
});
