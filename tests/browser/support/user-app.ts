import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, truncateSync } from "node:fs";
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

/** The shipped model folder as it is, and damaged in the ways that downloads get damaged. */
function writeModels(folder: string, model: string): void {
  cpSync(model, join(folder, "whole"), { recursive: true });
  cpSync(model, join(folder, "truncated"), { recursive: true });
  const weights = readdirSync(model).find((name) => name.endsWith(".safetensors"));
  if (weights === undefined) throw new Error(`${model} has no weights`);
  truncateSync(join(folder, "truncated", weights), Math.floor(readFileSync(join(model, weights)).length / 2));
}

function npm(folder: string, ...options: string[]): void {
  execFileSync(process.platform === "win32" ? "npm.cmd" : "npm", options, { cwd: folder, stdio: ["ignore", "inherit", "inherit"] });
}
