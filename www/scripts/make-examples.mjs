// Makes the pictures in public/examples. They are kept in the repository, so this is only needed to change them:
//   npm install --no-save @iconify-json/noto@1.2.9 && node scripts/make-examples.mjs
// Draws with the Chromium named in CHROMIUM (default /usr/bin/chromium).
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { chromium } from "playwright-core";

const emoji = {
  cat: "cat-face",
  elephant: "elephant",
  sunflower: "sunflower",
  pizza: "pizza",
  bicycle: "bicycle",
};

/** 64 × 64, plain shapes with hard edges somewhere on a light ground, as in easy-VQA but drawn here. */
const shapes = {
  "red-circle": { ground: "#e8eef9", shape: '<circle cx="27" cy="35" r="15" fill="#ff0000"/>' },
  "blue-rectangle": {
    ground: "#f3f8e9",
    shape: '<rect x="22" y="14" width="28" height="19" fill="#0000ff"/>',
  },
  "green-triangle": { ground: "#f9ece8", shape: '<path d="M33 12 52 46H14z" fill="#008000"/>' },
};

const icons = JSON.parse(
  await readFile(new URL("../node_modules/@iconify-json/noto/icons.json", import.meta.url), "utf8"),
);
const pictures = [
  ...Object.entries(emoji).map(([file, icon]) => {
    const size = icons.width ?? 128;
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size} ${size}" width="256" height="256">${icons.icons[icon].body}</svg>`;
    return { file, svg, size: 256, ground: "#fff" };
  }),
  ...Object.entries(shapes).map(([file, { ground, shape }]) => {
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64" shape-rendering="crispEdges">${shape}</svg>`;
    return { file, svg, size: 64, ground };
  }),
];

const folder = new URL("../public/examples/", import.meta.url);
await mkdir(folder, { recursive: true });
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
});
try {
  const page = await browser.newPage();
  for (const { file, svg, size, ground } of pictures) {
    await page.setViewportSize({ width: size, height: size });
    await page.setContent(`<style>body{margin:0;background:${ground}}svg{display:block}</style>${svg}`);
    await writeFile(new URL(`${file}.png`, folder), await page.screenshot());
  }
} finally {
  await browser.close();
}
