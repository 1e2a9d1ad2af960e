import { readFile } from "node:fs/promises";
import { expect, it } from "vitest";

it("leaves the checksum of the package out of the lock file", async () => {
  const lock = JSON.parse(await readFile(new URL("../package-lock.json", import.meta.url), "utf8"));
  const { resolved, integrity } = lock.packages["node_modules/coca-wasm"];
  expect(resolved).toBe("file:../target/npm/coca-wasm.tgz");
  // It is built in this repository and differs from build to build; with a checksum `npm ci` would refuse every new one.
  expect(integrity, "npm install wrote it: delete this line of package-lock.json").toBeUndefined();
});
