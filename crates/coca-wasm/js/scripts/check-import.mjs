/** Fails unless importing the package outside of a browser succeeds and says nothing. */
import { spawnSync } from "node:child_process";

const { status, stdout, stderr } = spawnSync(
  process.execPath,
  [
    "--input-type=module",
    "--eval",
    `import { CoCa } from "./dist/index.js";
     const support = await CoCa.isSupported();
     const error = await CoCa.load().catch((error) => error);
     if (support.cpu || support.webgpu || error.code !== "unsupported") process.exit(1);`,
  ],
  { cwd: new URL("..", import.meta.url), encoding: "utf8" },
);
if (status !== 0 || stdout + stderr !== "") {
  console.error(`importing the package in Node failed or was not silent:\n${stdout}${stderr}`);
  process.exit(1);
}
