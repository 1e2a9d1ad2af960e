/** Captions whose words show where they look. */
import type { Page } from "playwright-core";
import { describe, expect, it } from "vitest";
import { example, hasChromium, openBrowser, shows, text } from "./browser";

const word = (page: Page, name: string) =>
  page.locator("#caption-result").getByRole("button", { name, exact: true });

/** How bright the heat map leaves the picture at places given in fractions: 1 is as it was. */
const light = (page: Page, ...places: [x: number, y: number][]): Promise<number[]> =>
  page.locator("#heat").evaluate((canvas: HTMLCanvasElement, places) => {
    const { data, width } = canvas.getContext("2d")!.getImageData(0, 0, canvas.width, canvas.height);
    return places.map(([x, y]) => {
      const pixel = Math.floor(y * canvas.height) * width + Math.floor(x * width);
      return 1 - (data[4 * pixel + 3] ?? 0) / 255;
    });
  }, places);

describe.skipIf(!hasChromium)("a caption's words", { timeout: 60_000 }, () => {
  const visit = openBrowser();

  const explained = async (page: Page): Promise<void> => {
    await example(page, "Cat face emoji");
    await word(page, "whiskers").waitFor();
  };

  it("light up what they look at while the pointer is on them", () =>
    visit("", async (page) => {
      await explained(page);
      expect(await page.isVisible("#heat")).toBe(false);
      await word(page, "cat").hover();
      await page.locator("#heat").waitFor();
      // The second word of the stand-in looks at the second column, fourth row of eight.
      const [there, elsewhere] = await light(page, [1.5 / 8, 3.5 / 8], [0.9, 0.9]);
      expect(there).toBeGreaterThan(0.9);
      expect(elsewhere).toBeLessThan(0.3);
      expect(await text(page, ".look-text")).toMatch(/^“cat” looks at the left \(\d+ %\)\.$/);
      await page.mouse.move(0, 0);
      await page.locator("#heat").waitFor({ state: "hidden" });
    }));

  it("can be gone through with the keyboard, and are described to screen readers", () =>
    visit("", async (page) => {
      await explained(page);
      await word(page, "a").focus();
      await page.keyboard.press("ArrowRight");
      await page.keyboard.press("ArrowRight");
      expect(await page.evaluate(() => document.activeElement?.textContent)).toBe("face");
      await shows(page, ".look-text", "“face” looks at the bottom left");
      expect(await word(page, "face").getAttribute("aria-description")).toContain("at the bottom left");
      await page.keyboard.press("End");
      expect(await page.evaluate(() => document.activeElement?.textContent)).toBe("whiskers");
      // One stop for all of them.
      await page.keyboard.press("Tab");
      expect(await page.evaluate(() => document.activeElement?.id)).toBe("prefix");
      expect(await page.getByRole("group", { name: "Caption: a cat face" }).count()).toBe(1);
    }));

  it("keep their light when they are tapped, until Escape", () =>
    visit(
      "",
      async (page) => {
        await explained(page);
        await word(page, "two").tap();
        expect(await word(page, "two").getAttribute("aria-pressed")).toBe("true");
        await page.locator("#prefix").tap();
        expect(await page.isVisible("#heat")).toBe(true);
        expect(await page.isVisible(".look .heat")).toBe(true);
        await word(page, "two").focus();
        await page.keyboard.press("Escape");
        await page.locator("#heat").waitFor({ state: "hidden" });
      },
      { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true },
    ));

  it("go with their picture", () =>
    visit("", async (page) => {
      await explained(page);
      await word(page, "cat").click();
      await page.locator("#heat").waitFor();
      await example(page, "Red circle");
      await page.getByAltText("The chosen picture: Red circle").waitFor();
      await page.locator("#heat").waitFor({ state: "hidden" });
    }));

  it("are plain text with a package that cannot explain", () =>
    visit("?script=old", async (page) => {
      await example(page, "Cat face emoji");
      await shows(page, "#caption-result", "log p");
      expect(await text(page, "#caption-result .written")).toBe(
        "a cat face with two pointed ears and long whiskers",
      );
      expect(await page.locator(".word").count()).toBe(0);
      expect(await page.isVisible("#tab-search")).toBe(false);
    }));
});
