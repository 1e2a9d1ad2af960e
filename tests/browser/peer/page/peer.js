// ONNX Runtime on the models of tests/python/export_onnx.py, used as transformers.js uses it: a key-value cache that
// stays where the provider computes, the image's keys and values projected once, the next token chosen in JavaScript.
import { picture } from "./main.js";

const TOKENS = 20;

/** One task's sessions at a time, as all of them together with the package's weights may not fit into one tab. */
export async function openPeer(address, device, description, threads) {
  const provider = device === "webgpu" ? "webgpu" : "wasm";
  const ort = await import(device === "webgpu" ? "./onnxruntime-web/dist/ort.webgpu.min.mjs" : "./onnxruntime-web/dist/ort.wasm.min.mjs");
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmPaths = new URL("./onnxruntime-web/dist/", location.href).href;
  ort.env.logLevel = "error";
  const onGpu = provider === "webgpu";

  const open = (name, outputs) =>
    ort.InferenceSession.create(`${address}${name}.onnx`, {
      executionProviders: [provider],
      graphOptimizationLevel: "all",
      externalData: [{ path: `${name}.onnx.data`, data: `${address}${name}.onnx.data` }],
      ...(onGpu && outputs ? { preferredOutputLocation: outputs } : {}),
    });
  const { image: size, mean, std, ids, past, imageKeys, start, end, pad } = description;
  const rgba = picture(size).data;
  const plane = size[0] * size[1];

  /** As the model takes them: what preprocessing leaves to do with a picture of its size. */
  const pixels = () => {
    const values = new Float32Array(3 * plane);
    for (let channel = 0; channel < 3; channel += 1) {
      for (let at = 0; at < plane; at += 1) {
        values[channel * plane + at] = (rgba[4 * at + channel] / 255 - mean[channel]) / std[channel];
      }
    }
    return new ort.Tensor("float32", values, [1, 3, ...size]);
  };
  const tokens = (values, shape) => new ort.Tensor("int64", BigInt64Array.from(values.flat(), BigInt), shape);

  /** The most probable token that may come, as the package chooses it. */
  const next = (logits, last) => {
    let best = -1;
    for (let id = 0; id < logits.length; id += 1) {
      if (id === start || id === pad || (id === end && !last)) continue;
      if (best < 0 || logits[id] > logits[best]) best = id;
    }
    return best;
  };

  const tasks = {
    async image() {
      const session = await open("image");
      return {
        run: async () => (await session.run({ pixels: pixels() }, ["embedding"])).embedding.data,
        close: () => session.release(),
      };
    },
    async text() {
      const session = await open("text");
      const input = tokens(ids, [ids.length, ids[0].length]);
      return { run: async () => (await session.run({ ids: input })).text_embedding.data, close: () => session.release() };
    },
    async caption() {
      const image = await open("image", { tokens: "gpu-buffer" });
      const keys = await open("image_keys", "gpu-buffer");
      const present = past.flatMap((_, layer) => [`present.${layer}.key`, `present.${layer}.value`]);
      const decoder = await open("decoder", Object.fromEntries(present.map((name) => [name, "gpu-buffer"])));
      const run = async () => {
        const encoded = await image.run({ pixels: pixels() }, ["tokens"]);
        const ofImage = await keys.run({ tokens: encoded.tokens });
        let cache = Object.fromEntries(
          past.flatMap(([heads, width], layer) =>
            ["key", "value"].map((kind) => [`past.${layer}.${kind}`, new ort.Tensor("float32", new Float32Array(0), [1, heads, 0, width])]),
          ),
        );
        const written = [start];
        while (written.length <= TOKENS) {
          const result = await decoder.run({ ids: tokens([written.at(-1)], [1, 1]), ...cache, ...ofImage });
          for (const tensor of Object.values(cache)) tensor.dispose();
          cache = Object.fromEntries(present.map((name) => [name.replace("present", "past"), result[name]]));
          written.push(next(result.logits.data, written.length === TOKENS));
        }
        for (const tensor of [...Object.values(cache), ...Object.values(ofImage), encoded.tokens]) tensor.dispose();
        return written.slice(1).filter((id) => id !== end);
      };
      return { run, close: () => Promise.all([image, keys, decoder].map((session) => session.release())) };
    },
  };
  return { open: (task) => tasks[task](), version: ort.env.versions.web };
}
