/** The second room: the camera and video files. */
import { describe, expect, it } from "vitest";
import { chooseVideo, hasChromium, loseDevice, openBrowser, shows, text } from "./browser";

describe.skipIf(!hasChromium)("the live room", { timeout: 60_000 }, () => {
  const visit = openBrowser();

  it("names what the camera sees, in the order of the labels, and is off when it is left", () =>
    visit("?view=live", async (page) => {
      await page.fill("#live-labels", "a cup\na chair\na plant");
      await page.click("#live-camera");
      await shows(page, "#live-pace", /[\d.]+ FPS · \d+ ms a frame/);
      await shows(page, "#live-result .leading", "a cup");
      // The stand-in lets the second label lead after a while: the bars stay where they are.
      await shows(page, "#live-result .leading", "a chair");
      expect(await page.locator("#live-result .bar-name").allInnerTexts()).toEqual([
        "a cup",
        "a chair",
        "a plant",
      ]);
      await shows(page, "#live-state", "Live");
      const track = await page.evaluateHandle(
        () =>
          (document.querySelector<HTMLVideoElement>("#live-video")!.srcObject as MediaStream).getTracks()[0]!,
      );
      await page.click("#tab-picture");
      expect(await track.evaluate(({ readyState }) => readyState)).toBe("ended");
      await page.click("#tab-live");
      await shows(page, "#live-state", "Off");
    }));

  it("tells a screen reader the leading label, not every frame", () =>
    visit("?view=live", async (page) => {
      await page.evaluate(() => {
        const told: string[] = [];
        Object.assign(globalThis, { told });
        new MutationObserver(() =>
          told.push(document.querySelector("#announcer")!.textContent ?? ""),
        ).observe(document.querySelector("#announcer")!, { childList: true });
      });
      await page.fill("#live-labels", "a cup, a chair");
      await page.click("#live-camera");
      await shows(page, "#live-pace", "FPS");
      await page.waitForTimeout(3000);
      const told = await page.evaluate(() => (globalThis as unknown as { told: string[] }).told);
      expect(told.filter((news) => news.startsWith("Now:")).length).toBeLessThanOrEqual(1);
    }));

  it("takes new labels while it runs", () =>
    visit("?view=live", async (page) => {
      await page.click("#live-camera");
      await shows(page, "#live-result", "a laptop");
      await page.fill("#live-labels", "day");
      await shows(page, "#live-problem", "two labels or more");
      await page.fill("#live-labels", "day, night");
      await shows(page, "#live-result", "night");
      expect(await page.isVisible("#live-problem")).toBe(false);
      expect(new URL(page.url()).searchParams.get("live")).toBe("day, night");
    }));

  it("takes a frame into the first room", () =>
    visit("?view=live", async (page) => {
      await page.click("#live-camera");
      await shows(page, "#live-pace", "FPS");
      await page.click("#live-keep");
      await page.getByAltText("The chosen picture: video frame").waitFor();
      await shows(page, "#caption-result", "whiskers");
      expect(await page.getAttribute("#tab-picture", "aria-selected")).toBe("true");
    }));

  it("names a video file as a whole and while it plays", () =>
    visit("?view=live", async (page) => {
      await page.fill("#live-labels", "a ball, a box");
      await chooseVideo(page, "#live-file");
      await shows(page, "#video-result", "the mean of 16 moments");
      await shows(page, "#video-result li:first-child", "a ball");
      await shows(page, "#live-result .leading", "%");
      await shows(page, "#live-state", "While it plays");
      expect(await text(page, "#snippet")).toContain(
        "model.classifyVideo(video, classifier, { frames: 16 })",
      );
      await page.click("#live-stop");
      await page.locator("#video-result").waitFor({ state: "hidden" });
      expect(await page.evaluate(() => document.activeElement?.id)).toBe("live-camera");
    }));

  it("says so when a file is no video", () =>
    visit("?view=live", async (page) => {
      await page.setInputFiles("#live-file", {
        name: "notes.mp4",
        mimeType: "video/mp4",
        buffer: Buffer.from("notes"),
      });
      await shows(page, "#live-problem", "“notes.mp4” is not a video");
      await shows(page, "#live-state", "Off");
    }));

  it("goes on after the device was lost and is back", () =>
    visit("?view=live&script=recover&pace=100", async (page) => {
      await page.click("#live-camera");
      await shows(page, "#live-result .leading", "%");
      await loseDevice(page);
      await shows(page, "#live-state", "The device is coming back");
      await shows(page, "#live-state", "Live");
    }));
});
