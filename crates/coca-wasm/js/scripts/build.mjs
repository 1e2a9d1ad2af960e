/**
 * Fills dist/. `cargo xtask package` runs this after compiling the Rust side, and packs the result.
 *
 *   COCA_BINDINGS  folder of coca_wasm.js and coca_wasm_bg.wasm, which has both devices, and of coca_cpu.js and
 *                  coca_cpu_bg.wasm, which has the CPU alone      (default: target/npm/bindings of the workspace),
 *                  and of coca_cpu_relaxed_bg.wasm, the same with relaxed SIMD
 *   COCA_MODEL     model folder to bundle                          (default: models/coca-tiny of the workspace)
 */
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = fileURLToPath(new URL("..", import.meta.url));
const dist = join(root, "dist");
const bindings = resolve(process.env.COCA_BINDINGS ?? join(root, "../../../target/npm/bindings"));
const model = resolve(process.env.COCA_MODEL ?? join(root, "../../../models/coca-tiny"));

if (!existsSync(join(bindings, "coca_wasm.js"))) {
  fail(`there are no bindings in ${bindings}; run \`cargo xtask package\`, which makes them and then runs this`);
}
rmSync(dist, { recursive: true, force: true });
mkdirSync(dist);

emitDeclarations();
await bundle();
cpSync(join(bindings, "coca_wasm_bg.wasm"), join(dist, "coca_bg.wasm"));
cpSync(join(bindings, "coca_cpu_bg.wasm"), join(dist, "coca_cpu_bg.wasm"));
cpSync(join(bindings, "coca_cpu_relaxed_bg.wasm"), join(dist, "coca_cpu_relaxed_bg.wasm"));
// Without the ending of a compressed file, which some servers take for the encoding of a file to be unpacked on the way.
cpSync(join(root, "../../coca-model/assets/clip_merges.txt.gz"), join(dist, "clip_vocabulary.bin"));
copyModel();

/** The files behind the names that the worker's sources import. */
function bindingModules(extension) {
  return { "coca-bindings": join(bindings, `coca_wasm${extension}`), "coca-cpu-bindings": join(bindings, `coca_cpu${extension}`) };
}

/** Writes dist/types, and so checks the sources against the declarations of the real bindings. */
function emitDeclarations() {
  const project = join(dist, "tsconfig.json");
  writeFileSync(
    project,
    JSON.stringify({
      extends: "../tsconfig.json",
      compilerOptions: {
        declaration: true,
        emitDeclarationOnly: true,
        stripInternal: true,
        rootDir: "../src",
        outDir: "types",
        paths: Object.fromEntries(Object.entries(bindingModules(".d.ts")).map(([name, file]) => [name, [file]])),
      },
      include: [],
      files: ["../src/index.ts", "../src/node.ts", "../src/worker/main.ts", "../src/worker/main-node.ts"],
    }),
  );
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  const { status } = spawnSync(process.execPath, [tsc, "--project", project], { stdio: "inherit" });
  rmSync(project);
  if (status !== 0) fail("the TypeScript sources do not compile, or do not fit the bindings");
  keepReachable(join(dist, "types"), "index.d.ts");
  writeFileSync(join(dist, "types/worker.d.ts"), "/** A worker script: give its address to `new Worker`. */\nexport {};\n");
}

/** Deletes the declarations that the public ones do not mention. */
function keepReachable(folder, entry) {
  const reachable = new Set([entry]);
  for (const file of reachable) {
    const imports = readFileSync(join(folder, file), "utf8").matchAll(/from "\.\/(.+)\.js"/g);
    for (const [, name] of imports) reachable.add(`${name}.d.ts`);
  }
  for (const name of readdirSync(folder)) if (!reachable.has(name)) rmSync(join(folder, name), { recursive: true });
}

async function bundle() {
  const common = { bundle: true, format: "esm", target: "es2022", logLevel: "warning", absWorkingDir: root };
  const worker = { ...common, minify: true, alias: bindingModules(".js") };
  const node = { platform: "node", target: "node20" };
  await Promise.all([
    build({ ...common, entryPoints: ["src/index.ts"], outfile: "dist/index.js" }),
    build({ ...worker, entryPoints: ["src/worker/main.ts"], outfile: "dist/worker.js" }),
    build({ ...common, ...node, entryPoints: ["src/node.ts"], outfile: "dist/node.js" }),
    build({ ...worker, ...node, entryPoints: ["src/worker/main-node.ts"], outfile: "dist/worker-node.js" }),
  ]);
  // Some bundlers copy a worker without looking into it, so that nothing it names would be found.
  if (/\bimport\s*[."'({*]/.test(readFileSync(join(dist, "worker.js"), "utf8"))) fail("dist/worker.js is not self-contained");
  if (/["'`]node:/.test(readFileSync(join(dist, "index.js"), "utf8"))) fail("dist/index.js asks for a module of Node.js");
}

function copyModel() {
  if (!existsSync(join(model, "open_clip_config.json"))) {
    console.warn(`${model} is not a model folder: this build has no bundled model`);
    return;
  }
  const source = readFileSync(join(root, "src/bundled.ts"), "utf8");
  const files = [...source.matchAll(/new URL\("\.\/model\/([^"]+)"/g)].map(([, name]) => name);
  for (const name of files) {
    if (!existsSync(join(model, name))) fail(`${model} has no ${name}, which src/bundled.ts names`);
    cpSync(join(model, name), join(dist, "model", name));
  }
  const other = readdirSync(model).filter((name) => name.endsWith(".safetensors") && !files.includes(name));
  if (other.length > 0) fail(`src/bundled.ts does not name ${other.join(", ")} of ${model}`);
}

function fail(message) {
  console.error(message);
  process.exit(1);
}
