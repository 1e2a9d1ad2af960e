/**
 * The page in Chromium, with the scripted stand-in of `fixture/` in place of the package (`npm run fixture` builds it).
 * Needs a Chromium: CHROMIUM names one, default /usr/bin/chromium; without one these tests are skipped.
 */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { chromium, type Browser, type BrowserContextOptions, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { serve } from "./serve";

const executablePath = process.env["CHROMIUM"] ?? "/usr/bin/chromium";
const folder = fileURLToPath(new URL("../node_modules/.fixture", import.meta.url));
const axe = fileURLToPath(new URL("../node_modules/axe-core/axe.min.js", import.meta.url));
const wait = 10_000;

describe.skipIf(!existsSync(executablePath))("the page", { timeout: 60_000 }, () => {
  let browser: Browser;
  let site: Awaited<ReturnType<typeof serve>>;
  beforeAll(async () => {
    site = await serve(folder);
    const args = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"];
    if (process.getuid?.() === 0) args.push("--no-sandbox");
    browser = await chromium.launch({ executablePath, args });
  }, 60_000);
  afterAll(async () => {
    await browser.close();
    site.stop();
  });

  /** Opens the page, runs the test, and fails on anything that the page reported to the console. */
  async function visit(
    query: string,
    test: (page: Page) => Promise<void>,
    options: BrowserContextOptions = {},
  ) {
    const context = await browser.newContext({
      ...options,
      permissions: ["camera", "clipboard-read", "clipboard-write"],
    });
    context.setDefaultTimeout(wait);
    const page = await context.newPage();
    const reports: string[] = [];
    page.on("console", (message) => reports.push(message.text()));
    page.on("pageerror", (error) => reports.push(String(error)));
    try {
      await page.goto(site.address + query);
      await test(page);
      expect(reports).toEqual([]);
    } finally {
      await context.close();
    }
  }

  const example = (page: Page, name: string) => page.getByRole("button", { name, exact: true }).click();
  const text = async (page: Page, selector: string) => (await page.locator(selector).innerText()).trim();
  const shows = (page: Page, selector: string, words: string) =>
    page.locator(selector).filter({ hasText: words }).waitFor();

  it("asks all three about an example, and shows the code for it", () =>
    visit("", async (page) => {
      await example(page, "Cat face emoji");
      await shows(page, "#classify-result", "75.4 %");
      await shows(page, "#caption-result", "a cat face with two pointed ears and long whiskers");
      await shows(page, "#answer-result", "a cat");
      await shows(page, "#facts", "ms a picture");
      const code = await text(page, "#snippet");
      expect(code).toContain('const image = "examples/cat.png";');
      for (const call of ["model.classify(", "model.captionStream(", "model.answer("])
        expect(code).toContain(call);
      expect(await text(page, "#badge")).toMatch(/WebGPU.*coca-tiny · f32 · 6\.4 million parameters/s);
    }));

  it("keeps what was written when a caption is stopped", () =>
    visit("?script=writing", async (page) => {
      await example(page, "Cat face emoji");
      await shows(page, "#caption-result", "with two");
      await page.click("#caption-stop");
      await page.locator("#caption-stop").waitFor({ state: "hidden" });
      expect(await text(page, "#caption-result")).toBe("a cat face with two");
      expect(await page.evaluate(() => document.activeElement?.id)).toBe("caption-run");
    }));

  it("refuses input that cannot work, beside the task", () =>
    visit("", async (page) => {
      await page.fill("#labels", "cat");
      await page.fill("#choices", "yes");
      await example(page, "Red circle");
      await shows(page, "#classify-result", "two labels or more");
      await shows(page, "#answer-result", "two answers to choose from");
      expect(await page.inputValue("#labels")).toBe("cat");
    }));

  it("shows the scores of given answers", () =>
    visit("", async (page) => {
      await page.fill("#choices", "yes, no");
      await example(page, "Red circle");
      await shows(page, "#answer-result .bars", "90.0 %");
    }));

  it("tells how far the download is", () =>
    visit("?script=loading", async (page) => {
      await shows(page, "#badge", "13 MB of 26 MB");
      expect(await page.locator("#badge-progress").evaluate((bar: HTMLProgressElement) => bar.value)).toBe(
        0.5,
      );
      expect(await page.isDisabled("#classify-run")).toBe(true);
    }));

  it("says what to do where no model can run", () =>
    visit("?script=unsupported", async (page) => {
      await shows(page, "#notice", "WebAssembly with SIMD");
      await example(page, "Cat face emoji");
      expect(await page.isDisabled("#caption-run")).toBe(true);
      expect(await page.locator("#notice-actions button").count()).toBe(0);
    }));

  it("recovers from a lost device and then answers what was asked", () =>
    visit("?script=lost", async (page) => {
      await example(page, "Cat face emoji");
      await shows(page, "#notice", "went away");
      await page.getByRole("button", { name: "Try again" }).click();
      await shows(page, "#classify-result", "75.4 %");
      expect(await page.isVisible("#notice")).toBe(false);
    }));

  it("moves to the CPU on request, and notes it in the address", () =>
    visit("?script=lost", async (page) => {
      await example(page, "Cat face emoji");
      await page.getByRole("button", { name: "Use the CPU" }).click();
      await shows(page, "#badge", "Ready on the CPU");
      expect(new URL(page.url()).searchParams.get("device")).toBe("cpu");
      expect(await page.inputValue("#device")).toBe("cpu");
    }));

  it("loads a linked model only when told to", () =>
    visit("?model=https://hub.example/coca/", async (page) => {
      await shows(page, "#notice", "hub.example");
      await shows(page, "#badge", "Waiting for you");
      await page.getByRole("button", { name: "Use the small one instead" }).click();
      await shows(page, "#badge", "coca-tiny");
      expect(page.url()).not.toContain("model=");
    }));

  it("explains a model that cannot be used, and offers the small one", () =>
    visit("?script=weights&model=models/broken/", async (page) => {
      await shows(page, "#notice", "longer than the file");
      await page.getByRole("button", { name: "Use the small model" }).click();
      await shows(page, "#badge", "coca-tiny");
    }));

  it("explains a file that is no picture, until there is one", () =>
    visit("", async (page) => {
      const holiday = { name: "holiday.jpg", mimeType: "image/jpeg", buffer: Buffer.from("not a picture") };
      await page.setInputFiles("#file", holiday);
      await shows(page, "#picture-problem", "“holiday.jpg” is not a picture");
      await example(page, "Cat face emoji");
      await page.locator("#picture-problem").waitFor({ state: "hidden" });
    }));

  it("takes a pasted, a dropped and a drawn picture", () =>
    visit("", async (page) => {
      const png = (
        await readFile(fileURLToPath(new URL("../public/examples/cat.png", import.meta.url)))
      ).toString("base64");
      const send = (kind: "paste" | "drop") =>
        page.evaluate(
          async ([bytes, event]) => {
            const data = new DataTransfer();
            const content = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
            data.items.add(new File([content], `${event}.png`, { type: "image/png" }));
            document.dispatchEvent(
              event === "paste"
                ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true })
                : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }),
            );
          },
          [png, kind] as const,
        );
      await send("paste");
      await page.getByAltText("paste.png").waitFor();
      await send("drop");
      await page.getByAltText("drop.png").waitFor();
      const drawing = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><circle r="9"/></svg>';
      await page.setInputFiles("#file", {
        name: "dot.svg",
        mimeType: "image/svg+xml",
        buffer: Buffer.from(drawing),
      });
      await page.getByAltText("dot.svg").waitFor();
      expect(await page.locator("#picture").evaluate((image: HTMLImageElement) => image.naturalWidth)).toBe(
        512,
      );
    }));

  it("takes a picture with the camera and turns it off", () =>
    visit("", async (page) => {
      await page.click("#webcam-open");
      await page.locator("#webcam-take:enabled").click();
      await page.getByAltText("camera picture").waitFor();
      expect(
        await page.locator("#webcam-video").evaluate((video: HTMLVideoElement) => video.srcObject),
      ).toBeNull();
    }));

  it("sends nothing anywhere", () =>
    visit("", async (page) => {
      const requests: string[] = [];
      page.on("request", (request) => requests.push(`${request.method()} ${request.url()}`));
      await example(page, "Cat face emoji");
      await shows(page, "#caption-result", "whiskers");
      const elsewhere = requests.filter(
        (it) => !it.startsWith(`GET ${site.address}`) && !it.startsWith("GET blob:"),
      );
      expect(elsewhere).toEqual([]);
      expect(requests.length).toBeGreaterThan(0);
    }));

  it("fits a phone", () =>
    visit(
      "",
      async (page) => {
        await example(page, "Cat face emoji");
        await shows(page, "#caption-result", "whiskers");
        expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBe(0);
      },
      { viewport: { width: 320, height: 640 } },
    ));

  describe("is accessible by axe's rules", () => {
    const states: [name: string, query: string, ready: (page: Page) => Promise<void>][] = [
      ["empty", "", (page) => shows(page, "#badge", "Ready")],
      [
        "answered",
        "",
        async (page) => {
          await page.fill("#choices", "yes, no");
          await example(page, "Red circle");
          await shows(page, "#caption-result", "whiskers");
          await shows(page, "#answer-result", "90.0 %");
        },
      ],
      [
        "writing",
        "?script=writing",
        async (page) => {
          await example(page, "Red circle");
          await shows(page, "#caption-result", "with two");
        },
      ],
      ["loading", "?script=loading", (page) => shows(page, "#badge", "13 MB")],
      ["unsupported", "?script=unsupported", (page) => shows(page, "#notice", "SIMD")],
      [
        "lost",
        "?script=lost",
        async (page) => {
          await example(page, "Red circle");
          await shows(page, "#notice", "went away");
        },
      ],
      [
        "camera",
        "",
        async (page) => {
          await page.click("#webcam-open");
          await page.locator("#webcam-take:enabled").waitFor();
        },
      ],
    ];
    const looks = [
      { colorScheme: "light", width: 1280 },
      { colorScheme: "dark", width: 390 },
    ] as const;
    for (const [name, query, ready] of states) {
      for (const { colorScheme, width } of looks) {
        it(`${name}, ${colorScheme}, ${width} wide`, () =>
          visit(
            query,
            async (page) => {
              await ready(page);
              // The page's policy keeps script elements out, so axe is evaluated from outside.
              await page.evaluate(await readFile(axe, "utf8"));
              const violations = await page.evaluate(async () => {
                const { axe } = globalThis as unknown as { axe: typeof import("axe-core") };
                const { violations } = await axe.run();
                return violations.map(
                  ({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" | ")}`,
                );
              });
              expect(violations).toEqual([]);
            },
            { colorScheme, viewport: { width, height: 800 }, reducedMotion: "reduce" },
          ));
      }
    }
  });
});
