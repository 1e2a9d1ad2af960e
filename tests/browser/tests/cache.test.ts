// What a load leaves for the next one, on a server that drops connections, changes files and goes away.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser } from "@playwright/test";
import { policy } from "../support/global-setup";
import { ModelServer } from "../support/model-server";
import { answerFrom } from "../support/static-server";
import { expect, openUserPage, test as base, type UserPage } from "../support/test";

const FOLDER = "models/whole/";
const WEIGHTS = `/${FOLDER}open_clip_model.safetensors`;

interface Loaded {
  code: string;
  /** Whether the weights came from the cache. */
  fromCache: boolean;
  labels: number;
}

/** A page of its own on a server of its own. */
const test = base.extend<{ server: ModelServer; visitor: UserPage }>({
  server: async ({}, use) => {
    const site = process.env["COCA_TEST_SITE"];
    if (site === undefined) throw new Error("the set-up has not run");
    const server = new ModelServer(site, answerFrom([site], policy));
    await use(server);
    server.stop();
  },
  visitor: async ({ browser, server }: { browser: Browser; server: ModelServer }, use) => {
    const visitor = await openUserPage(browser, await server.start());
    await use(visitor);
    await visitor.page.context().close();
  },
});

/** Loads the model and uses it; `abortAt` is the share of the weights after which the load is aborted. */
function load({ page }: UserPage, abortAt?: number): Promise<Loaded> {
  return page.evaluate(
    async ([folder, abortAt]) => {
      const controller = new AbortController();
      let fromCache = false;
      try {
        const model = await window.coca.CoCa.load(folder, {
          device: "cpu",
          signal: controller.signal,
          onProgress: (step) => {
            if (step.phase !== "download" || !step.file?.endsWith(".safetensors")) return;
            fromCache = step.fromCache ?? false;
            if (abortAt !== undefined && step.loaded >= abortAt * (step.total ?? Infinity)) controller.abort();
          },
        });
        const labels = await model.classify("pictures/red-circle.png", ["a cat", "a dog"]);
        await model.dispose();
        return { code: "loaded", fromCache, labels: labels.length };
      } catch (error) {
        return { code: (error as { code?: string }).code ?? String(error), fromCache, labels: 0 };
      }
    },
    [FOLDER, abortAt] as const,
  );
}

const kept = ({ page }: UserPage) => page.evaluate(() => window.coca.CoCa.cache.list());

test("a second load needs no server, and says so", async ({ server, visitor }) => {
  expect(await load(visitor)).toEqual({ code: "loaded", fromCache: false, labels: 2 });
  server.down = true;
  expect(await load(visitor)).toEqual({ code: "loaded", fromCache: true, labels: 2 });
  const [model, ...others] = await kept(visitor);
  expect(others).toEqual([]);
  expect(model).toMatchObject({ complete: true });
  expect(model?.url).toContain(FOLDER);
  expect(model?.bytes).toBeGreaterThan(1e6);
  await visitor.page.evaluate((folder) => window.coca.CoCa.cache.delete(folder), FOLDER);
  expect(await kept(visitor)).toEqual([]);
  expect((await load(visitor)).code).toBe("network");
});

test("a dropped connection is taken up where it was", async ({ server, visitor }) => {
  server.drops = [2_000_000];
  expect(await load(visitor)).toMatchObject({ code: "loaded", labels: 2 });
  expect(server.requests.filter((request) => request.startsWith(WEIGHTS))).toEqual([WEIGHTS, `${WEIGHTS} bytes=2000000-`]);
});

test("a changed file is noticed", async ({ server, visitor }) => {
  // Without hashes, so that only the server can tell.
  server.replaced.set(`/${FOLDER}coca.json`, undefined);
  await load(visitor);
  expect((await load(visitor)).fromCache).toBe(true);
  const weights = readFileSync(join(process.env["COCA_TEST_SITE"] ?? "", WEIGHTS));
  weights[weights.length - 1] = (weights.at(-1) ?? 0) ^ 1;
  server.replaced.set(WEIGHTS, weights);
  expect(await load(visitor)).toEqual({ code: "loaded", fromCache: false, labels: 2 });
  server.down = true;
  expect(await load(visitor)).toEqual({ code: "loaded", fromCache: true, labels: 2 });
});

test("a corrupted entry is not used, and replaced", async ({ server, visitor }) => {
  await load(visitor);
  const corrupted = await visitor.page.evaluate(async () => {
    let count = 0;
    for (const name of await caches.keys()) {
      const cache = await caches.open(name);
      for (const { url } of await cache.keys()) {
        if (!/safetensors.*=\d+$/.test(url)) continue;
        const bytes = new Uint8Array((await (await cache.match(url))?.arrayBuffer()) ?? []);
        bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 255;
        await cache.put(url, new Response(bytes));
        count += 1;
      }
    }
    return count;
  });
  expect(corrupted).toBeGreaterThan(0);
  server.requests.length = 0;
  expect(await load(visitor)).toMatchObject({ code: "loaded", labels: 2 });
  expect(server.requests.some((request) => request.startsWith(`${WEIGHTS} bytes=`))).toBe(true);
  server.down = true;
  expect(await load(visitor)).toMatchObject({ code: "loaded", fromCache: true });
});

test("aborted loads leave no broken cache", async ({ server, visitor }) => {
  for (const share of [0, 0.1, 0.5, 0.99]) {
    expect((await load(visitor, share)).code, `aborted at ${share}`).toBe("aborted");
    expect((await kept(visitor)).some(({ complete }) => complete), `aborted at ${share}`).toBe(false);
  }
  expect(await load(visitor)).toMatchObject({ code: "loaded", labels: 2 });
  server.down = true;
  expect(await load(visitor)).toMatchObject({ code: "loaded", fromCache: true });
});
