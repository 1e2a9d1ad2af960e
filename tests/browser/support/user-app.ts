import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, rmSync, statSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import webpack, { type Configuration } from "webpack";
import { writePictures } from "./pictures";

/** Makes a new project in a temporary folder, installs the package as a user would, and builds it. */
export function buildUserApp(tarball: string, model: string): { folder: string; site: string; pictures: string } {
  const folder = mkdtempSync(join(tmpdir(), "coca-user-app-"));
  cpSync(new URL("../app", import.meta.url), folder, { recursive: true });
  const pictures = join(folder, "public/pictures");
  writePictures(pictures);
  writeModels(join(folder, "public/models"), model);
  npm(folder, "install", "--no-audit", "--no-fund", "--prefer-offline", tarball);
  writeFaultyWorker(join(folder, "public/faulty"), join(folder, "node_modules/coca-wasm/dist/worker.js"));
  npm(folder, "run", "build");
  return { folder, site: join(folder, "dist"), pictures };
}

/** The shipped model folder as it is, and with half of its weights: with the hashes of `coca.json` and without. */
function writeModels(folder: string, model: string): void {
  const weights = readdirSync(model).find((name) => name.endsWith(".safetensors"));
  if (weights === undefined) throw new Error(`${model} has no weights`);
  for (const name of ["whole", "truncated", "truncated-unhashed"]) cpSync(model, join(folder, name), { recursive: true });
  for (const name of ["truncated", "truncated-unhashed"]) {
    truncateSync(join(folder, name, weights), Math.floor(statSync(join(model, weights)).size / 2));
  }
  rmSync(join(folder, "truncated-unhashed/coca.json"), { force: true });
}

/** The package's worker behind a module that gives tests a hand on its GPU devices. */
function writeFaultyWorker(folder: string, worker: string): void {
  cpSync(new URL("../faulty", import.meta.url), folder, { recursive: true });
  cpSync(worker, join(folder, "coca-worker.js"));
}

/** The same page with webpack, again with no settings but entry and output; gives the folder of the site. */
export async function buildWithWebpack(folder: string): Promise<string> {
  const site = join(folder, "webpack");
  cpSync(new URL("../webpack", import.meta.url), site, { recursive: true });
  const configuration: Configuration = {
    mode: "production",
    context: folder,
    entry: join(site, "main.js"),
    output: { path: site, filename: "bundle.js" },
  };
  const problems = await new Promise<string | undefined>((resolve, reject) => {
    webpack(configuration, (error, stats) => {
      if (error) reject(error);
      else resolve(stats?.hasErrors() ? stats.toString("errors-only") : undefined);
    });
  });
  if (problems !== undefined) throw new Error(`webpack failed: ${problems}`);
  return site;
}

/** A page of Next.js in a temporary folder, written out as plain files; gives that folder and the one of the site. */
export function buildWithNext(tarball: string): { folder: string; site: string } {
  const folder = mkdtempSync(join(tmpdir(), "coca-next-app-"));
  cpSync(new URL("../next", import.meta.url), folder, { recursive: true });
  npm(folder, "install", "--no-audit", "--no-fund", "--prefer-offline", "--no-save", tarball);
  execFileSync(process.execPath, [join(folder, "node_modules/next/dist/bin/next"), "build"], {
    cwd: folder,
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, NEXT_TELEMETRY_DISABLED: "1" },
  });
  return { folder, site: join(folder, "out") };
}

function npm(folder: string, ...options: string[]): void {
  execFileSync(process.platform === "win32" ? "npm.cmd" : "npm", options, { cwd: folder, stdio: ["ignore", "inherit", "inherit"] });
}
