import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import type { Plugin } from "vite";

/** The development server injects inline styles and talks over a web socket; the built page keeps the strict policy. */
const relaxPolicyInDev: Plugin = {
  name: "relax-policy-in-dev",
  apply: "serve",
  transformIndexHtml: (html) =>
    html
      .replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
      .replace("connect-src 'self'", "connect-src 'self' ws:"),
};

const fixture = [
  { find: /^coca-wasm$/, replacement: fileURLToPath(new URL("tests/fixture/coca-wasm.ts", import.meta.url)) },
  { find: /^coca-wasm\/model/, replacement: fileURLToPath(new URL("tests/fixture", import.meta.url)) },
];

export default defineConfig(({ mode }) => ({
  // Relative addresses: the page can be served from any folder.
  base: "./",
  plugins: [relaxPolicyInDev],
  // A pre-bundled dependency loses the worker, wasm and weights beside it.
  optimizeDeps: { exclude: ["coca-wasm"] },
  // `--mode fixture`: a scripted stand-in for the package, with which the page's states can be tested without a model.
  resolve: mode === "fixture" ? { alias: fixture } : {},
  worker: { format: "es" },
  build: {
    target: "es2022",
    outDir: process.env["COCA_WWW_OUT"] ?? "dist",
    emptyOutDir: true,
    // Nothing inlined: the policy allows no data: addresses.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  test: { environment: "node" },
}));
