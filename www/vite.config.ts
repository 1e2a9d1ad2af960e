import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import type { Plugin } from "vite";
import { offline } from "./scripts/offline-plugin.ts";

/** The development server injects inline styles and talks over a web socket; the built page keeps the strict policy. */
const relaxPolicyInDev: Plugin = {
  name: "relax-policy-in-dev",
  apply: "serve",
  transformIndexHtml: (html) =>
    html
      .replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
      .replace("connect-src 'self'", "connect-src 'self' ws:"),
};

const fromHere = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

const fixture = [
  { find: /^coca-wasm$/, replacement: fromHere("tests/fixture/coca-wasm.ts") },
  { find: /^coca-wasm\/model/, replacement: fromHere("tests/fixture") },
];

export default defineConfig(({ mode }) => ({
  // Relative addresses: the page can be served from any folder.
  base: "./",
  plugins: [relaxPolicyInDev, offline()],
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
    rolldownOptions: {
      input: { index: fromHere("index.html"), sw: fromHere("sw/service-worker.ts") },
      // A service worker is found, and its scope decided, by its address.
      output: { entryFileNames: ({ name }) => (name === "sw" ? "sw.js" : "assets/[name]-[hash].js") },
    },
  },
  test: { environment: "node" },
}));
