// A GPU that fails: the model recovers by itself where it can, and says what happened where it cannot.
import type { Page } from "@playwright/test";
import { expect, test, openUserPage } from "../support/test";

const labels = ["a cat", "a dog"];

/** Loads a model whose worker lets the test spoil its GPU. */
function loadFaulty(page: Page, device: "auto" | "webgpu", query = ""): Promise<void> {
  return page.evaluate(
    async ([device, query]) => {
      const recovered: string[] = [];
      Object.assign(window, { recovered, fault: (name: string) => new BroadcastChannel("faulty-gpu").postMessage(name) });
      window.model = await window.coca.CoCa.load(undefined, {
        device,
        worker: () => new Worker(`faulty/worker.js?${query}`, { type: "module" }),
        onRecover: (error) => recovered.push(error.code),
      });
    },
    [device, query] as const,
  );
}

declare global {
  interface Window {
    recovered: string[];
    fault(name: "destroy" | "out-of-memory" | "invalid"): void;
  }
}

test("a lost device is replaced, and the call that was under way is made once more", async ({ browser }) => {
  const { page, errors } = await openUserPage(browser);
  await loadFaulty(page, "webgpu");
  const outcome = await page.evaluate(async (labels) => {
    const image = "pictures/red-circle.png";
    const classifier = await window.model.classifier(labels);
    const before = await classifier.classify(image);
    const pending = classifier.classify(await (await fetch(image)).blob());
    window.fault("destroy");
    const after = await pending;
    return { before, after, later: await classifier.classify(image), recovered: window.recovered, device: window.model.info.device };
  }, labels);
  expect(outcome.recovered).toEqual(["device-lost"]);
  expect(outcome.device).toBe("webgpu");
  const close = outcome.before.map(({ label, score }): unknown => ({ label, score: expect.closeTo(score, 3) }));
  expect(outcome.after).toEqual(close);
  expect(outcome.later).toEqual(close);

  // Nobody waits for it now, and yet it recovers.
  await page.evaluate(() => window.fault("destroy"));
  await page.waitForFunction(() => window.recovered.length === 2);
  expect(await page.evaluate((labels) => window.model.classify("pictures/red-circle.png", labels), labels)).toEqual(close);
  // What Chromium itself says of a destroyed device is a warning.
  expect(errors).toEqual([]);
  await page.context().close();
});

test("with `auto`, a GPU without memory gives way to the CPU, and the reason is told", async ({ browser }) => {
  const { page } = await openUserPage(browser);
  await loadFaulty(page, "auto", "hardware");
  expect(await page.evaluate(() => window.model.info.device)).toBe("webgpu");
  const outcome = await page.evaluate(async (labels) => {
    const pending = window.model.classify("pictures/red-circle.png", labels);
    window.fault("out-of-memory");
    const scores = await pending;
    return { scores: scores.length, recovered: window.recovered, info: window.model.info };
  }, labels);
  expect(outcome.scores).toBe(2);
  expect(outcome.recovered).toEqual(["out-of-memory"]);
  expect(outcome.info.device).toBe("cpu");
  expect(outcome.info.reason).toContain("out-of-memory");
  await page.context().close();
});

test("an error of the GPU rejects the call when WebGPU was asked for", async ({ browser }) => {
  const { page } = await openUserPage(browser);
  await loadFaulty(page, "webgpu");
  const codes = await page.evaluate(async (labels) => {
    const code = (error: unknown) => (error as { code?: string }).code ?? String(error);
    const pending = window.model.classify("pictures/red-circle.png", labels).then(() => "done", code);
    window.fault("invalid");
    return [await pending, await window.model.embedText(labels).then(() => "done", code), ...window.recovered];
  }, labels);
  expect(codes).toEqual(["webgpu-failed", "webgpu-failed"]);
  await page.context().close();
});

test("without timestamp-query `auto` takes the CPU and says why, and `webgpu` is refused", async ({ browser }) => {
  const { page, errors } = await openUserPage(browser);
  await loadFaulty(page, "auto", "hardware&no-timestamps");
  const info = await page.evaluate(() => window.model.info);
  expect(info.device).toBe("cpu");
  expect(info.reason).toContain("timestamp-query");
  const refused = loadFaulty(page, "webgpu", "no-timestamps");
  await expect(refused).rejects.toThrow(/timestamp-query/);
  expect(errors).toEqual([]);
  await page.context().close();
});
