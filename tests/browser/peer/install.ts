import { execFileSync } from "node:child_process";
import { mkdtempSync, renameSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

let folder: string | undefined;

/** Unpacks the tarball as npm would put it into `node_modules`; gives that folder. */
export function installPackage(tarball: string): string {
  if (folder !== undefined) return folder;
  folder = mkdtempSync(join(tmpdir(), "coca-peer-"));
  execFileSync("tar", ["-xzf", tarball, "-C", folder]);
  renameSync(join(folder, "package"), join(folder, "coca-wasm"));
  return folder;
}
