// The package in a page of Next.js, whose server imports it to render the page beforehand. (Its bundler is Turbopack.)
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { environment } from "../support/environment";
import { policy } from "../support/global-setup";
import { serve } from "../support/static-server";
import { expect, test, watch } from "../support/test";
import { buildWithNext } from "../support/user-app";

test("works with Next.js, on its server too", async ({ browser }) => {
  test.setTimeout(10 * 60_000);
  const { folder, site } = buildWithNext(environment.tarball());
  expect(readFileSync(join(site, "index.html"), "utf8")).toContain("no WebGPU");
  // Next.js writes its scripts into the page.
  const relaxed = policy.replace("'self' 'wasm-unsafe-eval'", "'self' 'unsafe-inline' 'wasm-unsafe-eval'");
  const { server, address } = await serve([site, process.env["COCA_TEST_SITE"] ?? ""], relaxed);
  const page = await (await browser.newContext()).newPage();
  const [errors, requests]: [string[], string[]] = [[], []];
  watch(page, errors, requests);
  await page.goto(address);
  await expect(page.locator("output")).toHaveText("a red circle", { timeout: 60_000 });
  expect(errors).toEqual([]);
  expect(requests.filter((request) => !request.startsWith(address))).toEqual([]);
  expect(requests.filter((request) => request.endsWith(".wasm"))).toHaveLength(1);
  await page.context().close();
  server.close();
  rmSync(folder, { recursive: true, force: true });
});
