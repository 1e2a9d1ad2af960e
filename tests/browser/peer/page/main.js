// Both sides of the comparison. Every task is a function that gives its result; `side by side` times them in turn.
import { CoCa } from "./coca-wasm/dist/index.js";
import { openPeer } from "./peer.js";

/** A picture of the model's own size, so that neither side scales: a gradient with stripes, opaque. */
export function picture([height, width]) {
  const image = new ImageData(width, height);
  for (let at = 0; at < width * height; at += 1) {
    const [x, y] = [at % width, Math.floor(at / width)];
    image.data.set([(255 * x) / width, (255 * y) / height, (x >> 3) % 2 ? 40 : 200, 255], 4 * at);
  }
  return image;
}

/** The same picture as a file, which the package keeps encoded between calls. */
async function file(image) {
  const canvas = new OffscreenCanvas(image.width, image.height);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}

const TOKENS = 20;
/** The end token does not come before the last place, so that both sides make all steps. */
const LENGTH = { prefix: "", maxTokens: TOKENS, minTokens: TOKENS - 1 };

/** The package's tasks, and what the peer's are compared with. */
async function openOurs(address, device, description, options = {}) {
  const model = await CoCa.load(address, { ...options, device });
  const image = picture(description.image);
  const { labels } = description;
  return {
    info: model.info,
    image: () => model.embedImage(image),
    text: async () => (await model.embedText(labels)).flatMap((embedding) => [...embedding]),
    caption: async () => (await model.caption(image, LENGTH)).tokens,
    /** A caption of a picture that is encoded already, and the same by running each prefix anew. */
    decoding: async () => {
      const encoded = await file(image);
      const whole = await model.caption(encoded, LENGTH);
      const words = whole.caption.split(" ");
      const prefixes = Array.from({ length: TOKENS }, (_, length) => words.slice(0, Math.round((length * words.length) / TOKENS)).join(" "));
      return {
        cached: () => model.caption(encoded, LENGTH),
        rerun: async () => {
          for (const prefix of prefixes) await model.caption(encoded, { prefix, maxTokens: 1 });
        },
      };
    },
    dispose: () => model.dispose(),
  };
}

/** The package as it runs in engines without relaxed SIMD, in the place of the peer. */
async function openBaseline(address, device, description) {
  const [cpu, webgpu] = ["coca_cpu_bg.wasm", "coca_bg.wasm"].map((name) => new URL(`coca-wasm/dist/${name}`, location.href));
  const ours = await openOurs(address, device, description, { wasmUrl: { cpu, webgpu } });
  return { open: async (task) => ({ run: ours[task], close: async () => {} }) };
}

async function timed(task) {
  const start = performance.now();
  const result = await task();
  return { result: ArrayBuffer.isView(result) ? [...result] : result, ms: performance.now() - start };
}

/** First calls, then calls in turn: times of both and the first results. `theirs` may be missing. */
async function sideBySide(ours, theirs, rounds) {
  const sides = [ours, theirs].filter((side) => side !== undefined);
  const firsts = [];
  for (const side of sides) firsts.push(await timed(side));
  const times = sides.map(() => []);
  for (let round = 0; round < rounds; round += 1) {
    for (const [at, side] of sides.entries()) times[at].push((await timed(side)).ms);
  }
  return sides.map((_, at) => ({ first: firsts[at].ms, times: times[at], result: firsts[at].result }));
}

/** From `CoCa.load()` of the shipped model, whose files the browser keeps, to the first answer: milliseconds. */
async function firstAnswer(device, rounds) {
  const image = await file(picture([64, 64]));
  const times = [];
  for (let round = 0; round <= rounds; round += 1) {
    const { ms } = await timed(async () => {
      const model = await CoCa.load(undefined, { device });
      await model.answer(image, "what is in the picture?");
      await model.dispose();
    });
    times.push(ms);
  }
  return { first: times[0], times: times.slice(1) };
}

Object.assign(window, { bench: { openOurs, openBaseline, openPeer, sideBySide, firstAnswer } });
