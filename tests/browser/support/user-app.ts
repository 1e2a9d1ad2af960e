import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, rmSync, statSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writePictures } from "./pictures";

/** Makes a new project in a temporary folder, installs the package as a user would, and builds it. */
export function buildUserApp(tarball: string, model: string): { folder: string; site: string; pictures: string } {
  const folder = mkdtempSync(join(tmpdir(), "coca-user-app-"));
  cpSync(new URL("../app", import.meta.url), folder, { recursive: true });
  const pictures = join(folder, "public/pictures");
  writePictures(pictures);
  writeModels(join(folder, "public/models"), model);
  npm(folder, "install", "--no-audit", "--no-fund", "--prefer-offline", tarball);
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

function npm(folder: string, ...options: string[]): void {
  execFileSync(process.platform === "win32" ? "npm.cmd" : "npm", options, { cwd: folder, stdio: ["ignore", "inherit", "inherit"] });
}
