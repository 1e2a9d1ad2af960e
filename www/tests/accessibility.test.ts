/** What axe finds in every state of the page, in both colour schemes, wide and narrow. */
import { describe, expect, it } from "vitest";
import { hasChromium, openBrowser, violations } from "./browser";
import { states } from "./states";

const looks = [
  { colorScheme: "light", viewport: { width: 1280, height: 800 } },
  { colorScheme: "dark", viewport: { width: 390, height: 800 } },
] as const;

describe.skipIf(!hasChromium)("is accessible by axe's rules", { timeout: 60_000 }, () => {
  const visit = openBrowser();
  for (const { name, query, ready, options } of states) {
    for (const look of looks) {
      it(`${name}, ${look.colorScheme}, ${look.viewport.width} wide`, () =>
        visit(
          query,
          async (page) => {
            await ready(page);
            expect(await violations(page)).toEqual([]);
            const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
            expect(overflow, "sideways scrolling").toBeLessThanOrEqual(0);
          },
          { ...options, ...look, reducedMotion: "reduce" },
        ));
    }
  }
});
