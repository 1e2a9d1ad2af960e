import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { chromium, type BrowserContextOptions, type Page } from "playwright-core";
import { afterAll, beforeAll, expect } from "vitest";
import { serve } from "./serve";

const executablePath = process.env["CHROMIUM"] ?? "/usr/bin/chromium";
const axe = fileURLToPath(new URL("../node_modules/axe-core/axe.min.js", import.meta.url));

/** Whether there is a Chromium to test with: CHROMIUM names one, default /usr/bin/chromium. */
export const hasChromium = existsSync(executablePath);

/** Where `npm run fixture` builds the page with the stand-in of `fixture/` in place of the package. */
export const built = fileURLToPath(new URL("../node_modules/.fixture", import.meta.url));

/** Long, because the machine may be busy; nothing that passes takes as long. */
const wait = 20_000;

export interface VisitOptions extends BrowserContextOptions {
  /** What the console may say in this test. */
  mayReport?: RegExp;
}

export type Visit = (
  query: string,
  test: (page: Page, address: string) => Promise<void>,
  options?: VisitOptions,
) => Promise<void>;

/**
 * A browser and the built page for the tests of one file. The function that comes back opens the page, runs a test, and
 * fails on anything that the page reported to the console. Service workers are off unless the options allow them.
 */
export function openBrowser(folder = (): string => built): Visit {
  let browser: Awaited<ReturnType<typeof chromium.launch>>;
  let site: Awaited<ReturnType<typeof serve>>;
  beforeAll(async () => {
    site = await serve(folder());
    const args = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"];
    if (process.getuid?.() === 0) args.push("--no-sandbox");
    browser = await chromium.launch({ executablePath, args });
  }, 60_000);
  afterAll(async () => {
    await browser.close();
    site.stop();
  });
  return async (query, test, { mayReport, ...options } = {}) => {
    const context = await browser.newContext({
      serviceWorkers: "block",
      permissions: ["camera", "clipboard-read", "clipboard-write"],
      ...options,
    });
    context.setDefaultTimeout(wait);
    const page = await context.newPage();
    const reports: string[] = [];
    const report = (text: string): void => {
      if (!mayReport?.test(text) && !text.includes("registration blocked by Playwright")) reports.push(text);
    };
    page.on("console", (message) => report(message.text()));
    page.on("pageerror", (error) => report(String(error)));
    try {
      await page.goto(query === "about:blank" ? query : site.address + query);
      await test(page, site.address);
      expect(reports).toEqual([]);
    } finally {
      await context.close();
    }
  };
}

export const example = (page: Page, name: string): Promise<void> =>
  page.locator("#examples").getByRole("button", { name, exact: true }).click();

export const text = async (page: Page, selector: string): Promise<string> =>
  (await page.locator(selector).innerText()).trim();

export const shows = (page: Page, selector: string, words: string | RegExp): Promise<void> =>
  page.locator(selector).filter({ hasText: words }).waitFor();

/** Takes the device away from the stand-in (`?script=recover`), which then gets another one. */
export const loseDevice = (page: Page): Promise<unknown> =>
  page.evaluate(() => dispatchEvent(new Event("lose-device")));

/** What axe finds, all its rules. */
export async function violations(page: Page): Promise<string[]> {
  // The page's policy keeps script elements out, so axe is evaluated from outside.
  await page.evaluate(await readFile(axe, "utf8"));
  return page.evaluate(async () => {
    const { axe } = globalThis as unknown as { axe: typeof import("axe-core") };
    const { violations } = await axe.run();
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" | ")}`);
  });
}

/** Gives a file input a short video that the browser itself draws and encodes. */
export async function chooseVideo(page: Page, selector: string): Promise<void> {
  await page.evaluate(async (selector) => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 240 });
    const context = canvas.getContext("2d")!;
    const recorder = new MediaRecorder(canvas.captureStream(20), { mimeType: "video/webm" });
    const parts: Blob[] = [];
    recorder.addEventListener("dataavailable", ({ data }) => parts.push(data));
    const done = new Promise((resolve) => recorder.addEventListener("stop", resolve));
    recorder.start();
    for (let frame = 0; frame < 24; frame += 1) {
      context.fillStyle = "#e8eef9";
      context.fillRect(0, 0, 320, 240);
      context.fillStyle = "#ff0000";
      context.beginPath();
      context.arc(60 + 8 * frame, 120, 40, 0, 7);
      context.fill();
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    recorder.stop();
    await done;
    const transfer = new DataTransfer();
    transfer.items.add(new File(parts, "ball.webm", { type: "video/webm" }));
    const input = document.querySelector<HTMLInputElement>(selector)!;
    input.files = transfer.files;
    input.dispatchEvent(new Event("change"));
  }, selector);
}
