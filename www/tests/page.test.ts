/**
 * The page in Chromium, with the scripted stand-in of `fixture/` in place of the package (`npm run fixture` builds it).
 * Without a Chromium these tests are skipped.
 */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { example, hasChromium, openBrowser, shows, text } from "./browser";

describe.skipIf(!hasChromium)("the page", { timeout: 60_000 }, () => {
  const visit = openBrowser();

  it("asks all three about an example, and shows the code for it", () =>
    visit("", async (page) => {
      await example(page, "Cat face emoji");
      await shows(page, "#classify-result", "75.4 %");
      await shows(page, "#caption-result", "a cat face with two pointed ears and long whiskers");
      await shows(page, "#answer-result", "a cat");
      await shows(page, "#measured", "212");
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

  it("keeps a conversation about a picture, and begins anew with the next", () =>
    visit("", async (page) => {
      await example(page, "Red circle");
      await shows(page, "#answer-result", "what shape is in the image?");
      await page.getByRole("button", { name: "is there a red circle?" }).click();
      await shows(page, "#answer-result", "yes");
      // What was asked is no longer suggested.
      expect(await page.locator("#suggestions .chip").allInnerTexts()).toEqual(["what color is the shape?"]);
      await page.fill("#question", "is it round?");
      await page.keyboard.press("Enter");
      await expect.poll(() => page.locator("#answer-result .notes").count()).toBe(3);
      expect(await page.locator(".asked").allInnerTexts()).toEqual([
        "what shape is in the image?",
        "is there a red circle?",
        "is it round?",
      ]);
      expect(await page.inputValue("#question")).toBe("");
      await example(page, "Cat face emoji");
      await expect.poll(() => page.locator(".asked").count()).toBe(1);
      await page.click("#answer-clear");
      expect(await page.locator(".asked").count()).toBe(0);
    }));

  it("notes in the conversation what was stopped", () =>
    visit("?script=thinking", async (page) => {
      await example(page, "Red circle");
      await page.click("#answer-stop");
      await shows(page, "#answer-result", "stopped");
      await shows(page, "#answer-result", "what shape is in the image?");
      expect(await page.isEnabled("#answer-run")).toBe(true);
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
    visit("", async (page, address) => {
      const requests: string[] = [];
      page.on("request", (request) => requests.push(`${request.method()} ${request.url()}`));
      await example(page, "Cat face emoji");
      await shows(page, "#caption-result", "whiskers");
      await page.click("#tab-live");
      await page.click("#live-camera");
      await shows(page, "#live-pace", "FPS");
      await page.click("#tab-search");
      await page.click("#collection-examples");
      await shows(page, "#collection-status", "8 pictures");
      await page.fill("#seek", "red");
      await shows(page, "#collection-status", "“red”");
      const elsewhere = requests.filter(
        (it) => !it.startsWith(`GET ${address}`) && !it.startsWith("GET blob:"),
      );
      expect(elsewhere).toEqual([]);
      expect(requests.length).toBeGreaterThan(0);
    }));

  it("keeps to a strict policy", () =>
    visit(
      "",
      async (page) => {
        const policy =
          (await page.locator("meta[http-equiv=Content-Security-Policy]").getAttribute("content")) ?? "";
        const rules = new Map(policy.split(";").map((rule) => [rule.trim().split(" ")[0], rule.trim()]));
        expect(rules.get("default-src")).toBe("default-src 'none'");
        expect(rules.get("script-src")).toBe("script-src 'self' 'wasm-unsafe-eval'");
        expect(rules.get("style-src")).toBe("style-src 'self'");
        const ran = await page.evaluate(() => {
          const script = Object.assign(document.createElement("script"), {
            textContent: "globalThis.ran = true",
          });
          document.head.append(script);
          return "ran" in globalThis;
        });
        expect(ran).toBe(false);
      },
      { mayReport: /Content Security Policy/ },
    ));

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
});
