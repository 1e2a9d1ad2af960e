/** Fails when what a page downloads outgrows its budget; prints the sizes in any case. */
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const budgets = [
  { files: ["index.js", "worker.js"], gzip: 45_000 },
  // Both devices in one binary, fetched only when WebGPU is used.
  { files: ["coca_bg.wasm"], gzip: 3_830_000 },
  { files: ["coca_cpu_bg.wasm"], gzip: 1_800_000 },
  { files: ["coca_cpu_relaxed_bg.wasm"], gzip: 1_800_000 },
];

let over = false;
for (const { files, gzip } of budgets) {
  const sizes = files.map((file) => gzipSync(readFileSync(new URL(`../dist/${file}`, import.meta.url))).length);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  console.log(`${files.join(" + ")}: ${total} bytes gzip, of ${gzip} allowed`);
  over ||= total > gzip;
}
process.exit(over ? 1 : 0);
