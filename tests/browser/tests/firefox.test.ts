// The CPU in a stock Firefox, driven over WebDriver BiDi: the same results as the native command's.
import { expect, test } from "@playwright/test";
import { launch } from "puppeteer-core";
import { environment } from "../support/environment";
import { native, nativeOne, type Captioned, type Classified, type Explained } from "../support/native";
import { expectClose } from "../support/test";

const labels = ["a cat", "a boat", "a red circle"];
const images = ["red-circle.png", "nagasaki-boats.jpg", "see-through.png"];

test("classifies, captions and explains", async () => {
  const firefox = environment.firefox();
  test.skip(firefox === undefined, "there is no Firefox (FIREFOX names one)");
  const browser = await launch({ browser: "firefox", executablePath: firefox ?? "", headless: true, timeout: 120_000, protocolTimeout: 300_000 });
  try {
    const page = await browser.newPage();
    const errors: string[] = [];
    page.on("pageerror", (error) => errors.push(String(error)));
    page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
    await page.goto(process.env["COCA_TEST_APP"] ?? "");
    await page.waitForFunction(() => "coca" in window);
    const info = await page.evaluate(async () => {
      window.model = await window.coca.CoCa.load();
      return window.model.info;
    });
    expect(info.device).toBe("cpu");
    expect(info.reason).toMatch(/webgpu/i);
    expect(info.selfTestError).toBeLessThan(1e-3);
    const classified = native<Classified>("classify", "--labels", labels.join(","));
    const captioned = native<Captioned>("caption", "--max-tokens", "12");
    for (const name of images) {
      const actual = await page.evaluate(
        async (name, labels) => {
          const image = `pictures/${name}`;
          const scores = await window.model.classify(image, labels);
          const { caption } = await window.model.caption(image, { maxTokens: 12 });
          const explanation = await window.model.explain(image, "a red circle");
          return { scores, caption, heat: explanation.words.map(({ heat }) => [...heat]) };
        },
        name,
        labels,
      );
      const wanted = classified.get(name)?.labels ?? [];
      expect(actual.scores.map(({ label }) => label), name).toEqual(wanted.map(({ label }) => label));
      expectClose(actual.scores.map(({ score }) => score), wanted.map(({ score }) => score), 1e-3);
      expect(actual.caption, name).toBe(captioned.get(name)?.caption);
      const { words } = nativeOne<Explained>("explain", name, "--text", "a red circle");
      actual.heat.forEach((heat, at) => expectClose(heat, words[at]?.heat ?? [], 1e-3));
    }
    await page.evaluate(() => window.model.dispose());
    expect(errors).toEqual([]);
  } finally {
    await browser.close();
  }
});
