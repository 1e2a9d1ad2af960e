/**
 * Times the npm package in Node.js on native WebGPU: Dawn, which is Chromium's, as the npm package `webgpu` brings it.
 * `cargo xtask bench dawn` runs this; so does a folder with this file, both packages in `node_modules`, and models:
 *
 *   node run.mjs [--models DIR] [--only TEXT] [--rounds N] [--seconds N] [--counts] [--out NAME] [--dawn OPTION]...
 *
 * Each model is timed in a worker thread of its own. The package's worker knows nothing of this: here its thread gets
 * what a browser would have given it, and then runs the package's own script.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { deflateSync, crc32 } from "node:zlib";
import { isMainThread, Worker, workerData } from "node:worker_threads";

/** Of a caption. The end token does not come before the last place, so that every caption takes all steps. */
const TOKENS = 20;
const LABELS = Array.from({ length: 8 }, (_, at) => `a photo of ${at + 1} dogs`);

/** Methods that are counted, by class. */
const COUNTED = {
  GPUDevice: ["createBindGroup", "createBuffer", "createCommandEncoder", "createComputePipeline", "createComputePipelineAsync", "createShaderModule", "pushErrorScope", "popErrorScope"],
  GPUQueue: ["submit", "writeBuffer", "onSubmittedWorkDone"],
  GPUCommandEncoder: ["beginComputePass", "copyBufferToBuffer", "clearBuffer", "resolveQuerySet", "finish"],
  GPUComputePassEncoder: ["setPipeline", "setBindGroup", "dispatchWorkgroups", "dispatchWorkgroupsIndirect", "end"],
  GPUBuffer: ["mapAsync", "getMappedRange", "unmap", "destroy"],
  globalThis: ["setTimeout"],
};
/** Places of the shared numbers: calls and milliseconds of each method, and these. */
const METHODS = Object.values(COUNTED).flat();
const WAITING = 2 * METHODS.length;
const BYTES_CREATED = WAITING + 1;
const BYTES_WRITTEN = WAITING + 2;
const NUMBERS = WAITING + 3;

if (isMainThread) await main();
else await beWorker(workerData);

// ---- The thread of the package's worker.

/** Gives this thread what wgpu looks for in a browser, and becomes the package's worker. */
async function beWorker({ script, dawn, shared }) {
  const { create, globals } = await import("webgpu");
  Object.assign(globalThis, globals);
  const navigator = globalThis.navigator ?? {};
  Object.defineProperty(globalThis, "navigator", { value: navigator, configurable: true, writable: true });
  Object.defineProperty(navigator, "gpu", { value: create(dawn), configurable: true });
  // How wgpu knows a worker.
  globalThis.WorkerGlobalScope ??= class WorkerGlobalScope {};
  if (shared) count(new Float64Array(shared));
  await import(script);
}

/** Counts calls, the time in them, and the time in which something is waited for. */
function count(numbers) {
  let waiting = 0;
  let since = 0;
  const wait = (promise) => {
    if (waiting++ === 0) since = performance.now();
    const done = () => {
      if (--waiting === 0) numbers[WAITING] += performance.now() - since;
    };
    promise.then(done, done);
    return promise;
  };
  for (const [name, methods] of Object.entries(COUNTED)) {
    const holder = name === "globalThis" ? globalThis : globalThis[name].prototype;
    for (const method of methods) {
      const original = holder[method];
      const at = 2 * METHODS.indexOf(method);
      holder[method] = function (...given) {
        if (method === "createBuffer") numbers[BYTES_CREATED] += given[0].size;
        if (method === "writeBuffer") numbers[BYTES_WRITTEN] += given[4] ?? given[2].byteLength;
        const start = performance.now();
        const result = original.apply(this, given);
        numbers[at] += 1;
        numbers[at + 1] += performance.now() - start;
        return result instanceof Promise ? wait(result) : result;
      };
    }
  }
}

// ---- The thread that asks.

async function main() {
  const { values } = parseArgs({
    options: {
      models: { type: "string" },
      only: { type: "string", default: "" },
      rounds: { type: "string", default: "7" },
      /** After so many seconds no further model is begun. */
      seconds: { type: "string", default: "600" },
      counts: { type: "boolean", default: false },
      out: { type: "string" },
      dawn: { type: "string", multiple: true, default: [] },
    },
  });
  const { CoCa } = await import("coca-wasm");
  const options = { ...values, rounds: Number(values.rounds), CoCa };
  const rows = [];
  const failures = [];
  for (const [name, folder] of models(values.models).filter(([name]) => name.includes(values.only))) {
    if (performance.now() > 1000 * Number(values.seconds)) {
      failures.push(name);
      console.log(`\n${name}: left out, there is no time left`);
      continue;
    }
    console.log(`\n${name}`);
    try {
      rows.push(await timeModel(name, folder, options, rows.length === 0));
    } catch (error) {
      failures.push(name);
      console.log(`failed: ${error?.code ?? ""} ${error?.stack ?? error}`);
    }
    if (values.out) writeFileSync(`${values.out}.json`, JSON.stringify({ processor: cpus()[0]?.model, node: process.version, rows }, undefined, 1));
  }
  const text = table(rows).join("\n");
  console.log(`\n${text}`);
  if (values.out) writeFileSync(`${values.out}.md`, `${text}\n`);
  // Dawn's threads would keep the process alive.
  process.exit(failures.length > 0 ? 1 : 0);
}

/** The folders in a folder, and the package's own model where it is not among them. */
function models(folder) {
  const found = folder ? readdirSync(folder).filter((name) => existsSync(join(folder, name, "open_clip_config.json"))).sort() : [];
  const named = found.map((name) => [name, join(folder, name)]);
  return found.includes("coca_tiny") ? named : [["coca_tiny", undefined], ...named];
}

async function timeModel(name, folder, { CoCa, rounds, counts, dawn }, describe) {
  const open = async (shared) => {
    const [model, ms] = await timed(() => CoCa.load(folder, { device: "webgpu", cache: false, worker: () => startWorker(dawn, shared) }));
    return { model, ms };
  };
  const config = folder ? join(folder, "open_clip_config.json") : new URL("./dist/model/open_clip_config.json", import.meta.resolve("coca-wasm/package.json"));
  const size = JSON.parse(readFileSync(config, "utf8")).model_cfg.vision_cfg.image_size;
  const image = picture(Array.isArray(size) ? size[0] : size);
  const file = new Blob([png(image)], { type: "image/png" });
  const length = (tokens) => ({ prefix: "", maxTokens: tokens, minTokens: tokens - 1 });

  const { model, ms: loading } = await open();
  const { info } = model;
  const row = { name, info, rounds, loading };
  say("load", loading, JSON.stringify(info.timings));
  if (describe) console.log(`  adapter ${JSON.stringify(info.adapter)}`);
  console.log(`  ${info.dtype} on ${info.device} (${info.reason}), ${(info.parameters / 1e6).toFixed(1)} M parameters, self-test ${info.selfTestError}`);

  const tasks = {
    image: () => model.embedImage(image),
    text: () => model.embedText(LABELS),
    caption: () => model.caption(image, length(TOKENS)),
    /** The file is encoded by the first call and remembered, so that only decoding is left. */
    decoding: () => model.caption(file, length(TOKENS)),
  };
  for (const [task, run] of Object.entries(tasks)) {
    const [, first] = await timed(run);
    const times = [];
    const perToken = [];
    for (let round = 0; round < rounds; round += 1) {
      const [result, ms] = await timed(run);
      times.push(ms);
      if (result.timings) perToken.push(1000 / result.timings.tokensPerSecond);
    }
    row[task] = { first, best: Math.min(...times), median: median(times), times };
    if (perToken.length > 0) row[task].perToken = { best: Math.min(...perToken), median: median(perToken) };
    const tokens = perToken.length > 0 ? `, a token ${ms(row[task].perToken.best)} (median ${ms(row[task].perToken.median)})` : "";
    say(task, row[task].best, `median ${ms(row[task].median)}, first ${ms(first)}${tokens}`);
  }
  const { caption, tokens } = await model.caption(file, length(TOKENS));
  console.log(`  ${tokens.length} tokens: ${JSON.stringify(caption)}`);
  await model.dispose();

  // Once more from the start, as on the second visit: the driver may remember the kernels that it compiled.
  const shared = counts ? new SharedArrayBuffer(8 * NUMBERS) : undefined;
  const start = performance.now();
  const again = await open(shared);
  await again.model.caption(image, length(TOKENS));
  row.toFirstCaption = performance.now() - start;
  say("again: load to first caption", row.toFirstCaption, `of it loading ${ms(again.ms)}`);
  if (shared) row.counts = await counted(again.model, file, length, new Float64Array(shared));
  await again.model.dispose();
  return row;
}

/** What one more token takes: a caption of all tokens less one of half of them, of an image that is encoded already. */
async function counted(model, file, length, numbers) {
  const over = async (tokens) => {
    const before = numbers.slice();
    const [, took] = await timed(() => model.caption(file, length(tokens)));
    return { took, numbers: numbers.map((value, at) => value - before[at]) };
  };
  for (const tokens of [TOKENS, TOKENS / 2]) await over(tokens);
  const runs = [];
  for (let round = 0; round < 5; round += 1) runs.push([await over(TOKENS), await over(TOKENS / 2)]);
  const each = (value) => median(runs.map(([whole, half]) => (value(whole) - value(half)) / (TOKENS / 2)));
  const calls = {};
  let inside = 0;
  for (const [at, method] of METHODS.entries()) {
    const [count, took] = [each((run) => run.numbers[2 * at]), each((run) => run.numbers[2 * at + 1])];
    inside += took;
    if (count !== 0) calls[method] = { count, ms: took };
  }
  const all = each((run) => run.took);
  const waiting = each((run) => run.numbers[WAITING]);
  const result = {
    ms: all,
    waitingMs: waiting,
    busyMs: all - waiting,
    inCallsMs: inside,
    bytesCreated: each((run) => run.numbers[BYTES_CREATED]),
    bytesWritten: each((run) => run.numbers[BYTES_WRITTEN]),
    calls,
  };
  console.log(`  a token, counted: ${ms(all)} ms, of it waiting for the GPU ${ms(waiting)}, not waiting ${ms(all - waiting)} (in the calls below ${ms(inside)})`);
  for (const [method, { count, ms: took }] of Object.entries(calls)) console.log(`    ${method.padEnd(28)}${String(count).padStart(8)}${ms(took).padStart(10)} ms`);
  console.log(`    bytes in new buffers ${result.bytesCreated}, written ${result.bytesWritten}`);
  return result;
}

/** A worker thread with the manners of a web worker. */
function startWorker(dawn, shared) {
  const script = new URL("./dist/worker-node.js", import.meta.resolve("coca-wasm/package.json")).href;
  const worker = new Worker(fileURLToPath(import.meta.url), { execArgv: [], workerData: { script, dawn, shared } });
  return {
    postMessage: (message, transfer) => worker.postMessage(message, transfer),
    addEventListener(type, listener) {
      if (type === "message") worker.on("message", (data) => listener({ data }));
      else worker.on(type, (error) => listener({ message: error?.stack ?? String(error) }));
    },
    terminate: () => void worker.terminate(),
  };
}

/** A picture of the model's own size, which nobody has to scale: a gradient with stripes, opaque. */
function picture(side) {
  const data = new Uint8ClampedArray(4 * side * side);
  for (let at = 0; at < side * side; at += 1) {
    const [x, y] = [at % side, Math.floor(at / side)];
    data.set([(255 * x) / side, (255 * y) / side, (x >> 3) % 2 ? 40 : 200, 255], 4 * at);
  }
  // Node.js has no ImageData; the package goes by the name of the class.
  return { width: side, height: side, data, colorSpace: "srgb", [Symbol.toStringTag]: "ImageData" };
}

/** The picture as a file, which the package keeps encoded between calls. */
function png({ width, height, data }) {
  const rows = Buffer.alloc(height * (1 + 4 * width));
  for (let y = 0; y < height; y += 1) rows.set(data.subarray(4 * width * y, 4 * width * (y + 1)), y * (1 + 4 * width) + 1);
  const chunk = (type, content) => {
    const body = Buffer.concat([Buffer.from(type, "latin1"), content]);
    const ends = Buffer.alloc(8);
    ends.writeUInt32BE(content.length, 0);
    ends.writeUInt32BE(crc32(body), 4);
    return Buffer.concat([ends.subarray(0, 4), body, ends.subarray(4)]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 6], 8);
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([signature, chunk("IHDR", header), chunk("IDAT", deflateSync(rows)), chunk("IEND", Buffer.alloc(0))]);
}

async function timed(work) {
  const start = performance.now();
  const result = await work();
  return [result, performance.now() - start];
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return (sorted[Math.ceil(middle) - 1] + sorted[Math.floor(middle)]) / 2;
}

function ms(value) {
  return value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0);
}

function say(what, value, more) {
  console.log(`  ${what} ${ms(value)} ms; ${more}`);
}

function table(rows) {
  const adapter = rows[0]?.info.adapter;
  return [
    `Milliseconds in Node.js ${process.version} with Dawn, ${adapter ? `${adapter.vendor} ${adapter.architecture} ${adapter.description}` : "no adapter"}; ` +
      `first call with the compilation of shaders, best and median of ${rows[0]?.rounds}; load to first caption: on the second load.`,
    "",
    "| model | weights | image encoder, first | best | median | text encoder, 8 labels, first | best | median | image and caption of 20 tokens, first | best | median | a token | load | load to first caption |",
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ...rows.map(({ name, info, image, text, caption, decoding, loading, toFirstCaption }) => {
      const times = [image, text, caption].flatMap(({ first, best, median }) => [first, best, median]);
      return `| ${[name, info.dtype, ...[...times, decoding.perToken.median, loading, toFirstCaption].map(ms)].join(" | ")} |`;
    }),
  ];
}
