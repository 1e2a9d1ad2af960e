// What the package promises beside its results: typed errors, order, clean-up. Independent of the device.
import { readFileSync } from "node:fs";
import type { Browser } from "@playwright/test";
import { expect, openUserPage, test, type UserPage } from "../support/test";

/** What a promise of the page came to: its value, or the code and message of its error. */
type Outcome = { code: string; message: string };

/** Loads a model by its address on a page of its own and says how that ended; the page must go on working. */
async function loadBroken(browser: Browser, address: string): Promise<{ outcome: Outcome; user: UserPage }> {
  const user = await openUserPage(browser);
  const outcome = await user.page.evaluate(
    (address) =>
      window.coca.CoCa.load(address, { device: "cpu" }).then(
        () => ({ code: "loaded", message: "" }),
        (error: unknown) => {
          if (!(error instanceof window.coca.CocaError)) return { code: "no CocaError", message: String(error) };
          return { code: error.code, message: error.message };
        },
      ),
    address,
  );
  const labels = await user.page.evaluate(() =>
    window.withModel("models/whole/", { device: "cpu" }, (model) => model.classify("pictures/red-circle.png", ["a cat", "a dog"])),
  );
  expect(labels.length, "labels from a sound model on the same page").toBe(2);
  return { outcome, user };
}

test("an address without a model is said to be one", async ({ browser }) => {
  const { outcome, user } = await loadBroken(browser, "models/none/");
  expect(outcome.code).toBe("not-found");
  expect(outcome.message).toContain("models/none/");
  // The browser itself reports each missing file on the console; nothing else may be there.
  expect(user.errors.filter((error) => !error.includes("404"))).toEqual([]);
  await user.page.context().close();
});

test("an unreachable server is a network error", async ({ browser }) => {
  // Port 9 of this machine: refused by the policy of the page as well as by every server.
  const { outcome, user } = await loadBroken(browser, "http://127.0.0.1:9/model/");
  expect(outcome.code).toBe("network");
  await user.page.context().close();
});

for (const [model, code] of [
  ["truncated", "integrity"],
  ["truncated-unhashed", "weights-invalid"],
] as const) {
  test(`truncated weights are refused: ${code}`, async ({ browser }) => {
    const { outcome, user } = await loadBroken(browser, `models/${model}/`);
    expect(outcome.code).toBe(code);
    expect(outcome.message).toContain("safetensors");
    // Without a coca.json its absence is on the console, as the browser's own message.
    expect(user.errors.filter((error) => !error.includes("404"))).toEqual([]);
    await user.page.context().close();
  });
}

test("a text that poses as an image is refused, and the next image is served", async ({ user }) => {
  const outcome = await user.page.evaluate(async () => {
    const bad = await window.model.caption("pictures/text.png").then(
      () => ({ code: "captioned", message: "" }),
      (error: unknown) => ({ code: (error as { code?: string }).code ?? "none", message: String(error) }),
    );
    const good = await window.model.classify("pictures/red-circle.png", ["a cat", "a dog"]);
    return { bad, good: good.length };
  });
  expect(outcome.bad.code, outcome.bad.message).toBe("image-decode");
  expect(outcome.good).toBe(2);
});

test("without an adapter, `auto` takes the CPU and says why, and `webgpu` is refused", async ({ user }) => {
  const { info, support, refused } = await user.page.evaluate(async () => {
    const { CoCa } = window.coca;
    const info = await window.withModel(undefined, { device: "auto" }, (model) => model.info);
    const refused = await CoCa.load(undefined, { device: "webgpu" }).then(
      () => "loaded",
      (error: unknown) => (error as { code?: string }).code,
    );
    return { info, support: await CoCa.isSupported(), refused };
  });
  expect(info.device).toBe("cpu");
  expect(info.reason).toMatch(/webgpu/i);
  expect(support).toMatchObject({ webgpu: false, cpu: true });
  expect(support.reason).toMatch(/webgpu|adapter/i);
  expect(refused).toBe("webgpu-unavailable");
});

test("progress goes through its phases and only grows", async ({ user }) => {
  const steps = await user.page.evaluate(async () => {
    const steps: { phase: string; file: string; loaded: number; total: number | undefined }[] = [];
    const model = await window.coca.CoCa.load("models/whole/", {
      device: "cpu",
      onProgress: ({ phase, file, loaded, total }) => steps.push({ phase, file: file ?? "", loaded, total }),
    });
    await model.dispose();
    return steps;
  });
  const phases = ["download", "verify", "upload", "selftest", "ready"];
  expect([...new Set(steps.map(({ phase }) => phase))].sort()).toEqual([...phases].sort());
  expect(steps.at(-1)?.phase).toBe("ready");
  const last = new Map<string, { loaded: number; total: number | undefined }>();
  for (const { phase, file, loaded, total } of steps) {
    const key = `${phase} ${file}`;
    expect(loaded, key).toBeGreaterThanOrEqual(last.get(key)?.loaded ?? 0);
    last.set(key, { loaded, total });
  }
  for (const [key, { loaded, total }] of last) expect(loaded, key).toBe(total);
});

test("an aborted load leaves nothing behind, and the next one works", async ({ user }) => {
  const { code, device } = await user.page.evaluate(async () => {
    const stop = new AbortController();
    const load = window.coca.CoCa.load("models/whole/", { device: "cpu", signal: stop.signal, onProgress: () => stop.abort() });
    const code = await load.then(
      () => "loaded",
      (error: unknown) => (error as { code?: string }).code,
    );
    return { code, device: await window.withModel("models/whole/", { device: "cpu" }, (model) => model.info.device) };
  });
  expect(code).toBe("aborted");
  expect(device).toBe("cpu");
});

test("every kind of image gives the same result", async ({ user }) => {
  const results = await user.page.evaluate(async () => {
    const address = "pictures/see-through.png";
    const blob = await (await fetch(address)).blob();
    const element = new Image();
    element.src = address;
    await element.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [element.naturalWidth, element.naturalHeight];
    const context = canvas.getContext("2d");
    if (context === null) throw new Error("no canvas");
    context.fillStyle = "white";
    context.fillRect(0, 0, canvas.width, canvas.height);
    // Opaque, as a canvas keeps transparent colours only roughly.
    context.drawImage(element, 0, 0);
    const opaque = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve));
    if (opaque === null) throw new Error("no PNG");
    const offscreen = new OffscreenCanvas(canvas.width, canvas.height);
    offscreen.getContext("2d")?.drawImage(canvas, 0, 0);
    const sources = {
      file: new File([opaque], "opaque.png"),
      canvas,
      offscreen,
      bitmap: await createImageBitmap(opaque),
      data: context.getImageData(0, 0, canvas.width, canvas.height),
      frame: new VideoFrame(canvas, { timestamp: 0 }),
    };
    const embeddings: Record<string, number[]> = {};
    for (const [name, source] of Object.entries(sources)) embeddings[name] = [...(await window.model.embedImage(source))];
    sources.frame.close();
    embeddings["address"] = [...(await window.model.embedImage(address))];
    embeddings["blob"] = [...(await window.model.embedImage(blob))];
    return embeddings;
  });
  const { blob, address, file = [], ...others } = results;
  expect(blob).toEqual(address);
  for (const [name, embedding] of Object.entries(others)) {
    const worst = Math.max(...embedding.map((value, at) => Math.abs(value - (file[at] ?? NaN))));
    // A video frame goes through the browser's own colour conversion.
    expect(worst, name).toBeLessThan(name === "frame" ? 0.05 : 1e-5);
  }
});

test("calls made at once are answered in order, each with its own result", async ({ user }) => {
  const { order, codes } = await user.page.evaluate(async () => {
    const order: number[] = [];
    const calls = ["red-circle.png", "text.png", "see-through.png", "text.png", "nagasaki-boats.jpg"].map((name, at) =>
      window.model
        .classify(`pictures/${name}`, ["a cat", "a dog"])
        .then(
          () => "done",
          (error: unknown) => (error as { code?: string }).code ?? "none",
        )
        .finally(() => order.push(at)),
    );
    return { codes: await Promise.all(calls), order };
  });
  expect(codes).toEqual(["done", "image-decode", "done", "image-decode", "done"]);
  expect([...order].sort()).toEqual([0, 1, 2, 3, 4]);
});

test("a disposed model refuses calls, and disposing twice is harmless", async ({ user }) => {
  const { pending, later } = await user.page.evaluate(async () => {
    const code = (error: unknown) => (error as { code?: string }).code ?? "none";
    const model = await window.coca.CoCa.load("models/whole/", { device: "cpu" });
    const pending = model.caption("pictures/red-circle.png").then(() => "done", code);
    await model.dispose();
    await model.dispose();
    return { pending: await pending, later: await model.embedText(["a cat"]).then(() => "done", code) };
  });
  expect(["disposed", "done"]).toContain(pending);
  expect(later).toBe("disposed");
});

test("models side by side answer each for itself", async ({ user }) => {
  const outcome = await user.page.evaluate(async () => {
    const other = await window.coca.CoCa.load("models/whole/", { device: "cpu" });
    const [a, b] = await Promise.all([
      window.model.embedImage("pictures/red-circle.png"),
      other.embedImage("pictures/red-circle.png"),
    ]);
    await other.dispose();
    const after = await window.model.embedImage("pictures/red-circle.png");
    return [a, b, after].map((embedding) => [...embedding]);
  });
  expect(outcome[1]).toEqual(outcome[0]);
  expect(outcome[2]).toEqual(outcome[0]);
});

test("a short call does not wait for all of a long one", async ({ user }) => {
  const order = await user.page.evaluate(async () => {
    const order: string[] = [];
    const long = window.model.embedImage(Array.from({ length: 12 }, () => "pictures/nagasaki-boats.jpg")).then(() => order.push("long"));
    const short = window.model.embedText(["a cat"]).then(() => order.push("short"));
    await Promise.all([long, short]);
    return order;
  });
  expect(order).toEqual(["short", "long"]);
});

test("loading and disposing again and again leaves nothing behind", async ({ browser }) => {
  const rounds = Number(process.env["COCA_LOADS"] ?? 25);
  test.setTimeout((60 + 4 * rounds) * 1000);
  const user = await openUserPage(browser);
  const session = await user.page.context().newCDPSession(user.page);
  const round = (times: number) =>
    user.page.evaluate(async (times) => {
      for (let turn = 0; turn < times; turn++) {
        const model = await window.coca.CoCa.load(undefined, { device: "cpu" });
        if (turn % 8 === 0) await model.classify("pictures/red-circle.png", ["a cat", "a dog"]);
        await model.dispose();
      }
    }, times);
  // What the renderer has in use: the page's own heap, and all array buffers, in which wasm memories and weights lie.
  const used = async () => {
    for (let turn = 0; turn < 3; turn++) await session.send("HeapProfiler.collectGarbage");
    const { usedSize, backingStorageSize = 0 } = (await session.send("Runtime.getHeapUsage")) as {
      usedSize: number;
      backingStorageSize?: number;
    };
    return usedSize + backingStorageSize;
  };
  await round(3);
  const [before, workers] = [await used(), user.page.workers().length];
  await round(rounds);
  const after = await used();
  console.log(`${((after - before) / 1024).toFixed(0)} KiB more in use after ${rounds} loads and disposals`);
  // A model is 12 MB of weights: one that stayed would show.
  expect(after - before).toBeLessThan(2 << 20);
  await expect.poll(() => user.page.workers().length).toBe(workers);
  await user.page.context().close();
});

test("the quick start of the package's README runs as it stands", async ({ user }) => {
  const readme = readFileSync(new URL("../../../crates/coca-wasm/js/README.md", import.meta.url), "utf8");
  const [, code] = /```ts\n(import \{ CoCa \}.*?)```/s.exec(readme) ?? [];
  if (code === undefined) throw new Error("the README has no quick start");
  const body = code.replace('import { CoCa } from "coca-wasm";', "const { CoCa } = window.coca;");
  const { best, answer, text } = await user.page.evaluate<{ best: { label: string }; answer: string; text: string }>(`(async () => {
    const file = await (await fetch("pictures/red-circle.png")).blob();
    const output = document.createElement("output");
    ${body}
    return { best, answer, text: output.textContent };
  })()`);
  expect(["a cat", "a dog"]).toContain(best.label);
  expect(answer).not.toBe("");
  expect(text).not.toBe("");
});
