/** The model's life on the page: switching, measuring, what is kept, and what a link brings. */
import { describe, expect, it } from "vitest";
import { example, hasChromium, loseDevice, openBrowser, shows, text } from "./browser";

describe.skipIf(!hasChromium)("the model", { timeout: 60_000 }, () => {
  const visit = openBrowser();

  it("is compared between devices, with times measured here", () =>
    visit("", async (page) => {
      await shows(page, "#measured", "coca-tiny WebGPU");
      await page.click("#measure");
      await shows(page, "#measure-status", "Measured just now");
      await page.selectOption("#device", "cpu");
      await page.click("#engine-load");
      await shows(page, "#measured", "coca-tiny CPU");
      const rows = await page.locator("#measured tr").allInnerTexts();
      expect(rows).toHaveLength(2);
      expect(rows[0]).toMatch(/501 ms\s+\d+ ms\s+21 ms\s+212\s+\d+/);
      expect(rows[1]).toMatch(/501 ms\s+–\s+–\s+–\s+–/);
    }));

  it("can be measured only until it is stopped", () =>
    visit("?pace=600", async (page) => {
      await page.locator("#measure:enabled").click();
      await shows(page, "#measure", "Stop");
      await page.click("#measure");
      await shows(page, "#measure", "Measure");
      expect(await text(page, "#measure-status")).not.toContain("Measured just now");
    }));

  it("comes from the hub, from an address or from a folder of this device", () =>
    visit("", async (page) => {
      await shows(page, "#badge", "Ready");
      await page.fill("#model-address", "hf:owner/coca-large");
      await page.click("#engine-load");
      await shows(page, "#badge", "coca_ViT-B-32");
      expect(new URL(page.url()).searchParams.get("model")).toBe("hf:owner/coca-large");
      expect(await text(page, "#snippet")).toContain('CoCa.load("hf:owner/coca-large")');
      await page.fill("#model-address", "ftp://hub.example/coca/");
      await page.click("#engine-load");
      expect(
        await page.locator("#model-address").evaluate((box: HTMLInputElement) => box.validationMessage),
      ).toContain("hf:owner/name");
      await page.fill("#model-address", "");
      await page.click("#engine-load");
      await shows(page, "#badge", "coca-tiny");
      await page.locator("#model-folder").evaluate((input: HTMLInputElement) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File(["{}"], "open_clip_config.json"));
        input.files = transfer.files;
        input.dispatchEvent(new Event("change"));
      });
      await shows(page, "#badge", "coca_ViT-B-32");
      expect(page.url()).not.toContain("model=");
    }));

  it("is listed with its size when it is kept, and deleted on request", () =>
    visit("?script=kept", async (page) => {
      await shows(page, "#badge", "kept on this device");
      await shows(page, "#kept", "owner/coca-large");
      await shows(page, "#kept", "1.3 GB");
      await shows(page, "#kept", "38 MB, not complete");
      await page.getByRole("button", { name: "Load owner/coca-large" }).click();
      await shows(page, "#badge", "coca_ViT-B-32");
      expect(new URL(page.url()).searchParams.get("model")).toContain("owner/coca-large");
      await page.getByRole("button", { name: "Delete owner/coca-large" }).click();
      await expect.poll(() => page.locator("#kept li").count()).toBe(1);
      await shows(page, "#announcer", "owner/coca-large was deleted");
    }));

  it("says what it is doing while the device comes back, and then goes on", () =>
    visit("?script=recover&pace=100", async (page) => {
      await shows(page, "#badge", "Ready");
      await loseDevice(page);
      await shows(page, "#badge", "Starting the device again");
      expect(await page.isDisabled("#caption-run")).toBe(true);
      await shows(page, "#badge", "Ready on WebGPU");
      await example(page, "Cat face emoji");
      await shows(page, "#caption-result", "whiskers");
    }));

  it("tells speed and time left while it is downloaded", () =>
    visit("?script=loading", (page) =>
      shows(page, "#badge", /13 MB of 26 MB · \d+(\.\d)? MB\/s · \d+ s left/),
    ));

  it("explains what this browser needs for WebGPU", () =>
    visit("?script=cpu", async (page) => {
      await page.click("#webgpu-help summary");
      await shows(page, "#webgpu-help-text", "graphics acceleration");
    }));
});

describe.skipIf(!hasChromium)("a link", { timeout: 60_000 }, () => {
  const visit = openBrowser();

  it("brings back the room, the example and what was written", () =>
    visit(
      "?picture=red-circle.png&labels=round%2C+square&question=is+it+round%3F&words=beams",
      async (page) => {
        await page.getByAltText("The chosen picture: Red circle").waitFor();
        await shows(page, "#classify-result", "round");
        await shows(page, "#answer-result", "is it round?");
        expect(await page.inputValue("#search")).toBe("beams");
        // An example suggests other labels, but these are the visitor's.
        await example(page, "Cat face emoji");
        expect(await page.inputValue("#labels")).toBe("round, square");
        await expect.poll(() => new URL(page.url()).searchParams.get("picture")).toBe("cat.png");
      },
    ));

  it("is copied with what was written", () =>
    visit("", async (page) => {
      await page.fill("#labels", "one, two");
      await expect.poll(() => new URL(page.url()).searchParams.get("labels")).toBe("one, two");
      await page.click("#share");
      await shows(page, "#share", "Copied");
      expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(page.url());
    }));

  it("never makes the page fetch a picture from elsewhere", () =>
    visit("?picture=https%3A%2F%2Felsewhere.example%2Fcat.png", async (page) => {
      await shows(page, "#badge", "Ready");
      expect(await page.isVisible("#picture")).toBe(false);
    }));
});

describe.skipIf(!hasChromium)("the rooms", { timeout: 60_000 }, () => {
  const visit = openBrowser();

  it("are changed with the arrow keys, and noted in the address", () =>
    visit("", async (page) => {
      await page.focus("#tab-picture");
      await page.keyboard.press("ArrowRight");
      expect(await page.isVisible("#view-live")).toBe(true);
      expect(await page.isVisible("#view-picture")).toBe(false);
      await page.keyboard.press("End");
      expect(new URL(page.url()).searchParams.get("view")).toBe("search");
      await page.keyboard.press("ArrowRight");
      expect(await page.evaluate(() => document.activeElement?.id)).toBe("tab-picture");
      expect(page.url()).not.toContain("view=");
    }));
});
