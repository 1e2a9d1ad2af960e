// The package and ONNX Runtime in the same tab, in turn, on the same weights.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test, type Page } from "@playwright/test";
import { environment } from "../support/environment";
import { serve } from "../support/static-server";
import { installPackage } from "./install";

interface Timed {
  first: number;
  times: number[];
  result?: number[];
}
interface Row {
  model: string;
  task: string;
  ours: Timed;
  theirs?: Timed;
}
/** What `page/main.js` offers; the sides stay in the page. */
interface Bench {
  openOurs(address: string, device: string, description: object): Promise<Ours>;
  openBaseline(address: string, device: string, description: object): Promise<Peer>;
  openPeer(address: string, device: string, description: object, threads: number): Promise<Peer>;
  sideBySide(ours: () => Promise<unknown>, theirs: (() => Promise<unknown>) | undefined, rounds: number): Promise<Timed[]>;
  firstAnswer(device: string, rounds: number): Promise<Timed>;
}
interface Ours extends Record<Task, () => Promise<unknown>> {
  decoding(): Promise<{ cached: () => Promise<unknown>; rerun: () => Promise<unknown> }>;
  dispose(): Promise<void>;
}
interface Peer {
  open(task: Task): Promise<{ run: () => Promise<unknown>; close: () => Promise<void> }>;
}
type Task = (typeof tasks)[number];

const tasks = ["image", "text", "caption"] as const;
const device = process.env["COCA_PEER_DEVICE"] ?? "cpu";
const models = process.env["COCA_PEER_MODELS"] ?? "";
const onnx = process.env["COCA_PEER_ONNX"] ?? "";
/** What the package is timed beside. */
const beside = process.env["COCA_PEER_BESIDE"] ?? "nothing";
const besideName = beside === "baseline" ? "without relaxed SIMD" : "ONNX Runtime";
const only = process.env["COCA_PEER_ONLY"] ?? "";
const rounds = Number(process.env["COCA_PEER_ROUNDS"] ?? 5);
const out = process.env["COCA_PEER_OUT"] ?? "";

const rows: Row[] = [];
const wanted = (name: string): boolean => name.includes(only);

for (const model of ["coca_tiny", "B32", "B32-q8"]) {
  const parts = [...tasks, "decoding"].filter((task) => wanted(`${model} ${task}`));
  if (parts.length === 0) continue;
  test(model, async ({ page }) => {
    await open(page);
    const description = describe(model);
    await page.evaluate(
      async ([model, device, description, beside]) => {
        const bench = (window as never as { bench: Bench }).bench;
        const ours = await bench.openOurs(`models/${model}/`, device, description);
        let peer: Peer | undefined;
        if (beside === "onnx") peer = await bench.openPeer(`onnx/${model}/`, device, description, 1);
        if (beside === "baseline") peer = await bench.openBaseline(`models/${model}/`, device, description);
        Object.assign(window, { ours, peer });
      },
      [model, device, description, beside] as const,
    );
    for (const task of tasks.filter((task) => parts.includes(task))) {
      const [ours, theirs] = await page.evaluate(
        async ([task, rounds]) => {
          const { bench, ours, peer } = window as never as { bench: Bench; ours: Ours; peer: Peer | undefined };
          const side = await peer?.open(task);
          const result = await bench.sideBySide(ours[task], side?.run, rounds);
          await side?.close();
          return result;
        },
        [task, rounds] as const,
      );
      if (!ours) throw new Error("nothing was timed");
      if (theirs) agree(task, ours.result ?? [], theirs.result ?? []);
      report({ model, task, ours, ...(theirs ? { theirs } : {}) });
    }
    if (parts.includes("decoding")) {
      const [cached, rerun] = await page.evaluate(async (rounds) => {
        const { bench, ours } = window as never as { bench: Bench; ours: Ours };
        const { cached, rerun } = await ours.decoding();
        return (await bench.sideBySide(cached, rerun, rounds)).map(({ first, times }) => ({ first, times }));
      }, rounds);
      if (!cached || !rerun) throw new Error("nothing was timed");
      report({ model, task: "cached decoding beside re-running the prefix (both ours)", ours: cached, theirs: rerun });
    }
    await page.evaluate(() => (window as never as { ours: Ours }).ours.dispose());
  });
}

if (wanted("coca_tiny first answer")) {
  test("first answer", async ({ page }) => {
    await open(page);
    const ours = await page.evaluate(
      ([device, rounds]) => (window as never as { bench: Bench }).bench.firstAnswer(device, rounds),
      [device, rounds] as const,
    );
    report({ model: "coca_tiny", task: "cached load to first answer", ours });
  });
}

test.afterAll(() => {
  if (rows.length === 0) return;
  const lines = [
    `Milliseconds in Chromium, ${device === "cpu" ? "one thread a side" : "WebGPU"}, ${cpus()[0]?.model ?? "unknown processor"}; medians of ${rounds} calls in turn.`,
    "",
    `| model | task | ours, first | ours | ${besideName}, first | ${besideName} | ratio |`,
    "|---|---|---|---|---|---|---|",
    ...rows.map(line),
  ];
  console.log(`\n${lines.join("\n")}`);
  writeFileSync(`${out}.md`, `${lines.join("\n")}\n`);
  writeFileSync(`${out}.json`, JSON.stringify(rows, undefined, 1));
});

function line({ model, task, ours, theirs }: Row): string {
  const ms = (value: number | undefined): string => (value === undefined ? "" : value.toFixed(value < 100 ? 1 : 0));
  const own = median(ours.times);
  const other = theirs && median(theirs.times);
  const ratio = other === undefined ? "" : (other / own).toFixed(2);
  return `| ${[model, task, ms(ours.first), ms(own), ms(theirs?.first), ms(other), ratio].join(" | ")} |`;
}

function report(row: Row): void {
  rows.push({ ...row, ours: { ...row.ours, result: [] }, ...(row.theirs ? { theirs: { ...row.theirs, result: [] } } : {}) });
  console.log(`\n${line(row)}`);
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return ((sorted[Math.ceil(middle) - 1] ?? NaN) + (sorted[Math.floor(middle)] ?? NaN)) / 2;
}

/** The sides compute the same: the same tokens, or embeddings in the same direction. */
function agree(task: Task, ours: readonly number[], theirs: readonly number[]): void {
  expect(ours.length).toBeGreaterThan(0);
  if (task === "caption") return expect(ours).toEqual(theirs);
  expect(ours.length).toBe(theirs.length);
  const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, x, at) => sum + x * (b[at] ?? NaN), 0);
  const cosine = dot(ours, theirs) / Math.sqrt(dot(ours, ours) * dot(theirs, theirs));
  expect(cosine, "the cosine of both sides' embeddings").toBeGreaterThan(0.9999);
}

/** What both sides are asked, from the exporter; from the model folder where nothing was exported. */
function describe(model: string): object {
  const exported = join(onnx, model, "model.json");
  if (beside === "onnx" && existsSync(exported)) return JSON.parse(readFileSync(exported, "utf8"));
  const { model_cfg } = JSON.parse(readFileSync(join(models, model, "open_clip_config.json"), "utf8"));
  const size = model_cfg.vision_cfg.image_size;
  return { image: [size, size].flat().slice(0, 2), labels: Array.from({ length: 8 }, (_, at) => `a photo of ${at + 1} dogs`) };
}

/** Opens the page with everything under one address, cross-origin isolated as ONNX Runtime's threads need it. */
async function open(page: Page): Promise<void> {
  const here = dirname(fileURLToPath(import.meta.url));
  const folders = [join(here, "page"), installPackage(environment.tarball()), join(here, "../node_modules"), dirname(models), dirname(onnx)];
  const policy = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval' blob:; worker-src 'self' blob:; img-src data:";
  const site = await serve(folders, policy);
  page.on("close", () => site.server.close());
  page.on("console", (message) => message.type() === "error" && console.log(`\n${message.text()}`));
  await page.goto(site.address);
  await page.waitForFunction(() => "bench" in window, undefined, { timeout: 30_000 });
}
