/** What the page costs before the package and its model: bytes, jumps and blocked time. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { built, hasChromium, openBrowser, shows } from "./browser";

const kB = 1000;

/** Sum of the gzip sizes of the built files with this ending; the stand-in for the package is among them. */
async function size(ending: string): Promise<number> {
  const names = (await readdir(built, { recursive: true })).filter((name) => name.endsWith(ending));
  expect(names.length).toBeGreaterThan(0);
  const sizes = await Promise.all(
    names.map(async (name) => gzipSync(await readFile(join(built, name))).length),
  );
  return sizes.reduce((one, other) => one + other, 0);
}

describe("weighs little", () => {
  it("at most 30 kB of scripts", async () => expect(await size(".js")).toBeLessThan(30 * kB));
  it("at most 8 kB of styles", async () => expect(await size(".css")).toBeLessThan(8 * kB));
  it("at most 8 kB of markup", async () => expect(await size(".html")).toBeLessThan(8 * kB));
});

describe.skipIf(!hasChromium)("loads calmly", { timeout: 60_000 }, () => {
  const visit = openBrowser();

  for (const width of [1440, 390]) {
    it(`moves nothing while it loads, ${width} wide`, () =>
      visit(
        "",
        async (page) => {
          await shows(page, "#badge", "Ready");
          const shift = await page.evaluate(
            () =>
              new Promise<number>((resolve) => {
                let sum = 0;
                const observer = new PerformanceObserver((list) => {
                  for (const entry of list.getEntries())
                    sum += (entry as PerformanceEntry & { value: number }).value;
                });
                observer.observe({ type: "layout-shift", buffered: true });
                setTimeout(() => resolve(sum), 300);
              }),
          );
          expect(shift).toBeLessThan(0.1);
        },
        { viewport: { width, height: 900 } },
      ));
  }

  it("never keeps the browser busy for long by itself", () =>
    visit("about:blank", async (page, address) => {
      // Processor time, not time on the wall: what else this machine does is none of the page's doing.
      const devtools = await page.context().newCDPSession(page);
      await devtools.send("Performance.enable", { timeDomain: "threadTicks" });
      await page.goto(address);
      await shows(page, "#badge", "Ready");
      const { metrics } = await devtools.send("Performance.getMetrics");
      const script = metrics.find(({ name }) => name === "ScriptDuration")?.value;
      // All scripts of the page together stay below what browsers call one long task.
      expect((script ?? Infinity) * 1000).toBeLessThan(50);
    }));
});
