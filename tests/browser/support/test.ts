import { test as base, expect, type Browser, type Page } from "@playwright/test";

export { expect };

export type Device = "cpu" | "webgpu";

/** A tab with the user's page, and what it did that a user would see in the developer tools. */
export interface UserPage {
  readonly page: Page;
  /** Errors on the console and uncaught ones. */
  readonly errors: string[];
  /** The addresses that were asked for. */
  readonly requests: string[];
}

/** Opens the user's page in a profile of its own, from the usual server or another. */
export async function openUserPage(browser: Browser, address = process.env["COCA_TEST_APP"]): Promise<UserPage> {
  if (address === undefined) throw new Error("the set-up has not run");
  const context = await browser.newContext();
  const page = await context.newPage();
  const user: UserPage = { page, errors: [], requests: [] };
  watch(page, user.errors, user.requests);
  await page.goto(address);
  await page.waitForFunction(() => "coca" in window);
  return user;
}

/** Notes the errors and the requests of a page and of its workers. */
export function watch(page: Page, errors: string[], requests: string[]): void {
  page.on("console", (message) => {
    if (message.type() === "error") errors.push(`${message.text()} (${message.location().url})`);
  });
  page.on("pageerror", (error) => errors.push(String(error)));
  page.context().on("request", (request) => requests.push(request.url()));
}

/**
 * `device`: where the models run. `user`: the page with a loaded model, shared by the tests of a project. Every test
 * fails that leaves an error on its console.
 */
export const test = base.extend<{ noErrors: void }, { device: Device; user: UserPage }>({
  device: ["cpu", { option: true, scope: "worker" }],
  user: [
    async ({ browser, device }, use) => {
      const user = await openUserPage(browser);
      await user.page.evaluate(async (device) => {
        window.model = await window.coca.CoCa.load(undefined, { device });
      }, device);
      await use(user);
      await user.page.evaluate(() => window.model.dispose());
      await user.page.context().close();
    },
    { scope: "worker", timeout: 5 * 60_000 },
  ],
  noErrors: [
    async ({ user }, use) => {
      await use();
      expect(user.errors).toEqual([]);
    },
    { auto: true },
  ],
});

/** Both lists have the same length and no two values differ by more than the tolerance. */
export function expectClose(actual: readonly number[], expected: readonly number[], tolerance: number): void {
  expect(actual.length).toBe(expected.length);
  const worst = Math.max(...actual.map((value, at) => Math.abs(value - (expected[at] ?? NaN))));
  expect(worst, "the largest difference").toBeLessThanOrEqual(tolerance);
}
