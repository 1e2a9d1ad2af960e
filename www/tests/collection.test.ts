/** The third room: many pictures, found by words and by each other. */
import { fileURLToPath } from "node:url";
import type { Page } from "playwright-core";
import { describe, expect, it } from "vitest";
import { hasChromium, openBrowser, shows, text } from "./browser";

const file = (name: string): string => fileURLToPath(new URL(`../public/examples/${name}`, import.meta.url));
/** Of all tiles; `innerText` would leave out those that are not laid out yet. */
const names = (page: Page): Promise<string[]> => page.locator(".tile-name").allTextContents();

describe.skipIf(!hasChromium)("the collection", { timeout: 60_000 }, () => {
  const visit = openBrowser();

  it("takes files, finds them by words with scores, and shows all again", () =>
    visit("?view=search", async (page) => {
      const files = ["blue-rectangle.png", "red-circle.png", "green-triangle.png"];
      await page.setInputFiles("#collection-files", files.map(file));
      await shows(page, "#collection-status", "3 pictures");
      expect(await names(page)).toEqual(files);
      await page.fill("#seek", "something green");
      await shows(page, "#collection-status", "“something green”: the best 3 of 3");
      expect((await names(page))[0]).toBe("green-triangle.png");
      expect(await page.locator(".tile-score").first().innerText()).toMatch(/^0\.\d\d$/);
      expect(new URL(page.url()).searchParams.get("q")).toBe("something green");
      expect(await text(page, "#snippet")).toContain('index.search("something green", { topK: 24 })');
      await page.click("#collection-all");
      expect(await names(page)).toEqual(files);
      await shows(page, "#measured", /\d/);
    }));

  it("finds pictures like one of them, and like one from outside", () =>
    visit("?view=search", async (page) => {
      await page.click("#collection-examples");
      await shows(page, "#collection-status", "8 pictures");
      await page.getByRole("button", { name: "Similar to Blue rectangle" }).click();
      await shows(page, "#collection-status", "Like Blue rectangle");
      expect((await names(page))[0]).toBe("Blue rectangle");
      await page.setInputFiles("#seek-file", file("sunflower.png"));
      await shows(page, "#collection-status", "Like sunflower.png");
      expect((await names(page))[0]).toBe("Sunflower emoji");
    }));

  it("opens a dropped folder, and leaves out what is no picture", () =>
    visit("", async (page) => {
      await page.locator("body[data-engine=ready]").waitFor();
      await page.evaluate(async () => {
        const blob = await (await fetch("examples/red-circle.png")).blob();
        const picture = new File([blob], "red.png", { type: "image/png" });
        const broken = new File(["no"], "broken.jpg", { type: "image/jpeg" });
        const entry = (file: File) => ({
          isFile: true,
          isDirectory: false,
          file: (done: (file: File) => void) => done(file),
        });
        // Browsers give entries only for a real drop: a folder of one level, read in two parts, stands for it.
        const parts = [[entry(picture)], [entry(broken)], []];
        const folder = {
          isFile: false,
          isDirectory: true,
          createReader: () => ({
            readEntries: (done: (part: unknown[]) => void) => done(parts.shift() ?? []),
          }),
        };
        const event = new DragEvent("drop", { bubbles: true, cancelable: true });
        const data = { items: [{ webkitGetAsEntry: () => folder }], files: [], getData: () => "" };
        Object.defineProperty(event, "dataTransfer", { value: data });
        document.dispatchEvent(event);
      });
      await shows(page, "#collection-status", "1 picture.");
      await shows(page, "#collection-problem", "One file is not among them: broken.jpg");
      expect(await page.getAttribute("#tab-search", "aria-selected")).toBe("true");
    }));

  it("opens a picture in the first room", () =>
    visit("?view=search", async (page) => {
      await page.click("#collection-examples");
      await page.getByRole("button", { name: "Pizza emoji", exact: true }).click();
      await page.getByAltText("The chosen picture: Pizza emoji").waitFor();
      await shows(page, "#caption-result", "whiskers");
    }));

  it("stops, keeps what is done, removes one, and can be emptied", () =>
    visit("?view=search&pace=600", async (page) => {
      await page.click("#collection-examples");
      await shows(page, "#collection-progress-text", /[2-6] of 8/);
      await page.click("#collection-stop");
      await page.locator("#collection-progress").waitFor({ state: "hidden" });
      const kept = (await names(page)).length;
      expect(kept).toBeGreaterThanOrEqual(2);
      expect(kept).toBeLessThan(8);
      await page.getByRole("button", { name: "Remove Cat face emoji" }).click();
      await expect.poll(async () => (await names(page)).length).toBe(kept - 1);
      await page.click("#collection-empty");
      await page.locator("#collection-filled").waitFor({ state: "hidden" });
      expect(await page.evaluate(() => document.activeElement?.id)).toBe("collection-folder");
    }));

  it("looks at the pictures again when another model comes", () =>
    visit("?view=search", async (page) => {
      await page.click("#collection-examples");
      await shows(page, "#collection-status", "8 pictures");
      await page.selectOption("#device", "cpu");
      await page.click("#engine-load");
      await shows(page, "#badge", "Ready on the CPU");
      await shows(page, "#collection-status", "8 pictures");
      await page.fill("#seek", "red");
      await shows(page, "#collection-status", "“red”: the best 8 of 8");
    }));

  it("waits for the model with what was brought before it came", () =>
    visit("?view=search&pace=1000", async (page) => {
      await page.setInputFiles("#collection-files", [file("cat.png"), file("pizza.png")]);
      await shows(page, "#collection-status", "wait for the model");
      await shows(page, "#collection-status", "2 pictures");
    }));
});
