import { defineConfig } from "@playwright/test";
import { withoutGpu, withWebGpu } from "./support/chromium";
import { environment } from "./support/environment";

/** The package beside ONNX Runtime; run with `cargo xtask bench web` and `cargo xtask bench webgpu`. */
export default defineConfig({
  testDir: "peer",
  testMatch: "*.bench.ts",
  outputDir: "../../target/browser-tests",
  reporter: "line",
  workers: 1,
  timeout: 60 * 60_000,
  use: {
    launchOptions: {
      executablePath: environment.chromium(),
      args: process.env["COCA_PEER_DEVICE"] === "webgpu" ? withWebGpu : withoutGpu,
    },
  },
});
