// Makes the pictures in public/icons from public/favicon.svg. They are kept in the repository: `node scripts/make-icons.mjs`
// Draws with the Chromium named in CHROMIUM (default /usr/bin/chromium).
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { chromium } from "playwright-core";

const svg = await readFile(new URL("../public/favicon.svg", import.meta.url), "utf8");
/** Systems cut a maskable icon to their own shape: it fills the square, with the drawing in the safe middle. */
const maskable = svg.replace('rx="7"', "").replace('viewBox="0 0 32 32"', 'viewBox="-4 -4 40 40"');
const icons = [
  { file: "icon-192", size: 192, drawing: svg },
  { file: "icon-512", size: 512, drawing: svg },
  { file: "icon-maskable-512", size: 512, drawing: maskable, ground: "#0e6a5b" },
];

const folder = new URL("../public/icons/", import.meta.url);
await mkdir(folder, { recursive: true });
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
});
try {
  const page = await browser.newPage();
  for (const { file, size, drawing, ground } of icons) {
    await page.setViewportSize({ width: size, height: size });
    const body = `body{margin:0;background:${ground ?? "transparent"}}svg{display:block;width:100vw;height:100vh}`;
    await page.setContent(`<style>${body}</style>${drawing}`);
    await writeFile(new URL(`${file}.png`, folder), await page.screenshot({ omitBackground: true }));
  }
} finally {
  await browser.close();
}
