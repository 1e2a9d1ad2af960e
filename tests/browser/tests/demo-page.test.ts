// The built page as visitors get it, with the shipped model.
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { expect, test, type Page } from "@playwright/test";
import { environment } from "../support/environment";
import { watch } from "../support/test";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const looks = [
  { name: "desktop", use: { viewport: { width: 1280, height: 900 }, colorScheme: "light" } },
  { name: "desktop-dark", use: { viewport: { width: 1280, height: 900 }, colorScheme: "dark" } },
  { name: "phone", use: { viewport: { width: 390, height: 844 }, colorScheme: "light", hasTouch: true, isMobile: true } },
  { name: "phone-dark", use: { viewport: { width: 390, height: 844 }, colorScheme: "dark", hasTouch: true, isMobile: true } },
] as const;

/** Opens the page and waits until its model is ready. */
async function open(page: Page): Promise<{ errors: string[]; requests: string[] }> {
  const address = process.env["COCA_TEST_PAGE"];
  if (address === undefined) throw new Error("the set-up has not run");
  const [errors, requests]: [string[], string[]] = [[], []];
  watch(page, errors, requests);
  await page.goto(address);
  await expect(page.locator("body")).toHaveAttribute("data-engine", "ready", { timeout: 120_000 });
  return { errors, requests };
}

for (const { name, use } of looks) {
  test.describe(name, () => {
    test.use(use);

    test("an example is named, described and asked about", async ({ page }) => {
      const { errors, requests } = await open(page);
      await page.locator("#examples button").first().click();
      await expect(page.locator("#classify-result .bars li").first()).toBeVisible({ timeout: 60_000 });
      for (const task of ["caption", "answer"]) {
        await expect(page.locator(`#${task}-result .notes`)).toBeVisible({ timeout: 60_000 });
        await expect(page.locator(`#${task}-result .problem`)).toHaveCount(0);
      }
      // The words show where they look once the model has explained them.
      await page.locator("#caption-result .word").first().click({ timeout: 60_000 });
      await expect(page.locator("#heat")).toBeVisible();
      await expect(page.locator("#caption-result .look-text")).toContainText(/“.+” looks/);
      expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth), "sideways scrolling").toBeLessThanOrEqual(0);

      mkdirSync(environment.screenshots(), { recursive: true });
      await page.screenshot({ path: join(environment.screenshots(), `${name}.png`), fullPage: true });

      expect(await violations(page)).toEqual([]);
      expect(errors).toEqual([]);
      const own = new URL(page.url()).origin;
      expect(requests.filter((address) => !address.startsWith(own) && !address.startsWith("blob:"))).toEqual([]);
    });
  });
}

test("a visitor's own picture, labels and question", async ({ page }) => {
  const { errors } = await open(page);
  await page.locator("#auto-run").uncheck();
  await page.locator("#file").setInputFiles(join(process.env["COCA_TEST_PICTURES"] ?? "", "locomotion-house-cat.jpg"));
  await page.locator("#labels").fill("a cat\na ship");
  await page.locator("#classify-run").click();
  await expect(page.locator("#classify-result .bars li")).toHaveCount(2, { timeout: 60_000 });
  await page.locator("#question").fill("is there a cat?");
  await page.locator("#choices").fill("yes, no");
  await page.locator("#answer-run").click();
  await expect(page.locator("#answer-result")).toContainText(/yes|no/i, { timeout: 60_000 });
  expect(errors).toEqual([]);
});

test("the examples are searched by words and by one of them", async ({ page }) => {
  const { errors } = await open(page);
  await page.locator("#tab-search").click();
  await page.locator("#collection-examples").click();
  await expect(page.locator("#collection-status")).toContainText("8 pictures", { timeout: 60_000 });
  await page.locator("#seek").fill("a red circle");
  await expect(page.locator(".tile-score")).toHaveCount(8, { timeout: 60_000 });
  await page.getByRole("button", { name: "Similar to Blue rectangle" }).click();
  // Nothing is more like a picture than itself.
  await expect(page.locator(".tile-name").first()).toHaveText("Blue rectangle", { timeout: 60_000 });
  expect(errors).toEqual([]);
});

test("a file that is no picture is refused in words, and the page goes on", async ({ page }) => {
  await open(page);
  const pictures = process.env["COCA_TEST_PICTURES"] ?? "";
  await page.locator("#file").setInputFiles(join(pictures, "text.png"));
  await expect(page.locator("#picture-problem")).toBeVisible();
  await page.locator("#file").setInputFiles(join(pictures, "red-circle.png"));
  await expect(page.locator("#classify-result .bars li").first()).toBeVisible({ timeout: 60_000 });
  await expect(page.locator("#picture-problem")).toBeHidden();
});

test("a model that is not there is said in words, and the page's own can be loaded after it", async ({ page }) => {
  const address = process.env["COCA_TEST_PAGE"] ?? "";
  await page.goto(`${address}?model=${encodeURIComponent(`${address}none/`)}`);
  await expect(page.locator("#notice")).toBeVisible({ timeout: 60_000 });
  await page.locator("#model-address").fill("");
  await page.locator("#engine-load").click();
  await expect(page.locator("body")).toHaveAttribute("data-engine", "ready", { timeout: 120_000 });
});

/** What axe finds against WCAG 2.2 AA. */
async function violations(page: Page): Promise<string[]> {
  // Added through the debugger, which the page's policy does not apply to.
  await page.evaluate(axe);
  return page.evaluate(async () => {
    const { axe } = window as unknown as { axe: { run(options: object): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> } };
    const { violations } = await axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"] });
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
  });
}
