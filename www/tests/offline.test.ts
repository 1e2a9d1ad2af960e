/** The page as an app: kept by its service worker, usable without a network, and replaced only when the visitor says so. */
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { built, example, hasChromium, openBrowser, shows } from "./browser";

const serviceWorkers = "allow";

/** Resolves once the service worker serves the page. */
const controlled = (page: Page): Promise<unknown> =>
  page.evaluate(async () => {
    await navigator.serviceWorker.ready;
    if (!navigator.serviceWorker.controller)
      await new Promise((resolve) => navigator.serviceWorker.addEventListener("controllerchange", resolve));
  });

describe.skipIf(!hasChromium)("offline", { timeout: 60_000 }, () => {
  const visit = openBrowser();

  it("opens without a network, in any state of the address, and answers", () =>
    visit(
      "",
      async (page) => {
        await controlled(page);
        await page.context().setOffline(true);
        await page.goto(`${new URL(page.url()).origin}/?view=search&q=red`);
        await shows(page, "#offline", "No network");
        await page.click("#collection-examples");
        await shows(page, "#collection-status", "“red”");
        await page.click("#tab-picture");
        await example(page, "Cat face emoji");
        await shows(page, "#caption-result", "whiskers");
      },
      { serviceWorkers },
    ));

  it("says how much is kept, and forgets it on request", () =>
    visit(
      "",
      async (page) => {
        await controlled(page);
        await page.reload();
        await shows(page, "#kept", "This page and its small model");
        await page.getByRole("button", { name: "Delete This page and its small model" }).click();
        await page.locator("#kept").waitFor({ state: "hidden" });
        expect(await page.evaluate(() => caches.keys())).toEqual([]);
      },
      { serviceWorkers },
    ));

  it("can be installed: the manifest and its icons are there", () =>
    visit("", async (page, address) => {
      const href = await page.locator('link[rel="manifest"]').getAttribute("href");
      const url = new URL(href ?? "", address);
      const manifest = await (await page.request.get(url.href)).json();
      expect(manifest.display).toBe("standalone");
      for (const { src, type } of manifest.icons) {
        const icon = await page.request.get(new URL(src, url).href);
        expect([icon.status(), icon.headers()["content-type"]]).toEqual([200, type]);
      }
      const sizes = manifest.icons.map(
        (icon: { sizes: string; purpose?: string }) => `${icon.sizes} ${icon.purpose ?? ""}`,
      );
      expect(sizes).toEqual(expect.arrayContaining(["192x192 ", "512x512 ", "512x512 maskable"]));
    }));
});

describe.skipIf(!hasChromium)("a new version", { timeout: 60_000 }, () => {
  let folder = "";
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "coca-page-"));
    await cp(built, folder, { recursive: true });
  });
  afterAll(() => rm(folder, { recursive: true }));
  const visit = openBrowser(() => folder);

  it("keeps the runtime and the model once they are there, but no runtime that was not needed", async () => {
    const worker = join(folder, "sw.js");
    const files = ["model.safetensors", "cpu.wasm", "gpu.wasm"];
    for (const name of files) await writeFile(join(folder, name), `content of ${name}`);
    const original = await readFile(worker, "utf8");
    await writeFile(
      worker,
      original.replace(/(model\W+)\[\]/, (_, key) => `${key}${JSON.stringify(files).replaceAll('"', '\\"')}`),
    );
    await visit(
      "",
      async (page) => {
        // What the package would have loaded on the CPU.
        await page.evaluate(() => Promise.all(["model.safetensors", "cpu.wasm"].map((name) => fetch(name))));
        const kept = (): Promise<string[]> =>
          page.evaluate(async () => {
            const [name] = await caches.keys();
            const urls = name === undefined ? [] : await (await caches.open(name)).keys();
            return urls.map(({ url }) => url.split("/").pop() ?? "");
          });
        await controlled(page);
        await expect.poll(kept).toEqual(expect.arrayContaining(["model.safetensors", "cpu.wasm"]));
        await page.context().setOffline(true);
        const text = await page.evaluate(async () => (await fetch("model.safetensors")).text());
        expect(text).toBe("content of model.safetensors");
        expect(await kept()).not.toContain("gpu.wasm");
        await page.reload();
        await shows(page, "#badge", "kept on this device");
      },
      { serviceWorkers },
    );
    await writeFile(worker, original);
  });

  it("is offered, and comes when the visitor says so", () =>
    visit(
      "",
      async (page) => {
        await controlled(page);
        expect(await page.isVisible("#update")).toBe(false);
        const [index, worker] = [join(folder, "index.html"), join(folder, "sw.js")];
        await writeFile(
          index,
          (await readFile(index, "utf8")).replace("<h1>One picture", "<h1>Another picture"),
        );
        await writeFile(
          worker,
          (await readFile(worker, "utf8")).replace(/(version\W+)[0-9a-f]{12}/, "$1000000000000"),
        );
        await page.evaluate(async () => (await navigator.serviceWorker.ready).update());
        await page.locator("#update").waitFor();
        expect(await page.innerText("h1")).toContain("One picture");
        await page.click("#update-now");
        await shows(page, "h1", "Another picture");
        expect(await page.evaluate(() => caches.keys())).toEqual(["coca-page-000000000000"]);
      },
      { serviceWorkers },
    ));
});
