/** Pictures of every state, to be looked at: `npm run screenshots` writes them to target/page-states. */
import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, it } from "vitest";
import { hasChromium, openBrowser } from "./browser";
import { states } from "./states";

const folder = process.env["COCA_SCREENSHOTS"];
const only = process.env["COCA_STATES"]?.split(",");

const looks = [
  { look: "desktop-light", colorScheme: "light", viewport: { width: 1440, height: 900 } },
  { look: "desktop-dark", colorScheme: "dark", viewport: { width: 1440, height: 900 } },
  {
    look: "phone-light",
    colorScheme: "light",
    viewport: { width: 390, height: 844 },
    hasTouch: true,
    isMobile: true,
  },
  {
    look: "phone-dark",
    colorScheme: "dark",
    viewport: { width: 390, height: 844 },
    hasTouch: true,
    isMobile: true,
  },
] as const;

describe.skipIf(folder === undefined || !hasChromium)("pictures", { timeout: 60_000 }, () => {
  const visit = openBrowser();
  const target = fileURLToPath(new URL(`../${folder ?? ""}/`, import.meta.url));
  beforeAll(() => mkdir(target, { recursive: true }).then(() => undefined));
  for (const { name, query, ready, options, whole } of states.filter(
    ({ name }) => only?.includes(name) ?? true,
  )) {
    for (const { look, ...how } of looks) {
      it(`${name}, ${look}`, () =>
        visit(
          query,
          async (page) => {
            await ready(page);
            // Movements end.
            await page.waitForTimeout(600);
            await page.screenshot({
              path: `${target}${name}-${look}.png`,
              fullPage: whole ?? how.viewport.width < 600,
            });
          },
          { ...options, ...how },
        ));
    }
  }
});
