import { createHash } from "node:crypto";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import type { Plugin } from "vite";

const worker = "sw.js";

/**
 * Tells the service worker which files make the page, and names the version after their content. Our own thirty lines,
 * because the usual tool brings three hundred packages for the same list.
 */
export function offline(): Plugin {
  let folder = "";
  return {
    name: "offline",
    apply: "build",
    configResolved(config) {
      folder = config.build.outDir;
    },
    async writeBundle() {
      const names = (await readdir(folder, { recursive: true, withFileTypes: true }))
        .filter((entry) => entry.isFile())
        .map((entry) => relative(folder, join(entry.parentPath, entry.name)).split(sep).join("/"))
        .filter((name) => name !== worker && name !== "index.html" && !name.endsWith(".map"))
        .sort();
      const hash = createHash("sha256");
      for (const name of ["index.html", ...names])
        hash.update(name).update(await readFile(join(folder, name)));
      // What only the model needs is large and comes later; texts that a link leads to stay on the server.
      const isModel = (name: string): boolean => /\.(wasm|safetensors|json)$/.test(name);
      const files = JSON.stringify({
        version: hash.digest("hex").slice(0, 12),
        shell: names.filter((name) => !isModel(name) && !/\.(md|txt)$/.test(name)),
        model: names.filter(isModel),
      });
      const path = join(folder, worker);
      const source = await readFile(path, "utf8");
      const filled = source.replace(/(["'`])__FILES__\1/, () => JSON.stringify(files));
      if (filled === source) this.error(`${worker} has no place for the list of files`);
      await writeFile(path, filled);
    },
  };
}
