import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
const read = (name: string): string => readFileSync(join(root, name), "utf8");
/** Inside of the package, so that the compiler finds its settings and types. */
const folder = join(root, "tests/unit/examples.tmp");

/** What a reader has around an example. */
const SURROUNDINGS = `
declare module "react" {
  export function useEffect(effect: () => (() => void) | void, of: readonly unknown[]): void;
  export function useState<T>(): [T | undefined, (value: T) => void];
  export function useState<T>(value: T): [T, (value: T | ((value: T) => T)) => void];
}
declare namespace JSX { interface IntrinsicElements { p: object } }
declare const file: File;
declare const signal: AbortSignal;
declare const output: HTMLElement;
`;

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("the documentation", () => {
  it("has examples that compile", () => {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder);
    writeFileSync(join(folder, "surroundings.d.ts"), SURROUNDINGS);
    let examples = 0;
    for (const name of ["README.md", "docs/recipes.md"]) {
      for (const [, kind, code = ""] of read(name).matchAll(/^```(tsx?)\n(.*?)^```$/gms)) {
        const imported = code.includes('from "coca-wasm"') ? code : `import { CoCa } from "coca-wasm";\n${code}`;
        writeFileSync(join(folder, `${name.replace(/\W/g, "-")}-${examples++}.${kind}`), imported);
      }
    }
    expect(examples).toBeGreaterThan(8);
    const project = {
      extends: "../../../tsconfig.json",
      compilerOptions: { noEmit: true, jsx: "preserve", noUnusedLocals: false, paths: { "coca-wasm": ["../../../src/index.ts"] } },
      include: ["./*"],
    };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(project));
    const tsc = join(root, "node_modules/typescript/bin/tsc");
    const { stdout } = spawnSync(process.execPath, [tsc, "--project", folder], { encoding: "utf8" });
    expect(stdout).toBe("");
  }, 60_000);

  it("says of every error what to do", () => {
    const codes = [...read("src/error.ts").matchAll(/^ {2}\| "([a-z-]+)"/gm)].map(([, code]) => code);
    expect(codes.length).toBeGreaterThan(15);
    const page = read("docs/troubleshooting.md");
    const explained = [...page.matchAll(/^\| `(?!code)([a-z-]+)` \|/gm)].map(([, code]) => code);
    expect(explained.toSorted()).toEqual(codes.toSorted());
  });

  it("quotes messages that exist", () => {
    // The sources as one line each, without the joints of long texts.
    const sources = ["arguments", "error", "image", "load", "platform", "support", "connection", "coca"]
      .map((name) => read(`src/${name}.ts`))
      .concat(["runtime", "compile", "trap", "fetch-image"].map((name) => read(`src/worker/${name}.ts`)))
      .concat(read("../src/gpu.rs"))
      .join("\n")
      .replace(/["`'] \+\n\s*["`']/g, "");
    const quoted = ["there is no WebGPU here", "the WebAssembly here has no SIMD", "the GPU computes wrong numbers", "the GPU device was lost",
      "the GPU has not enough memory", "the GPU reported an error: ", "the call was aborted by its signal", "the model was disposed",
      "is not the wasm that belongs to this version of the package", "the runtime stopped on a bug; please report it: ",
      "the server answered with a page", "lacks the feature timestamp-query"];
    const page = read("docs/troubleshooting.md");
    for (const message of quoted) {
      expect(page, "the page").toContain(message.trim());
      expect(sources, "the sources").toContain(message);
    }
  });
});
