import type { Page } from "playwright-core";
import { chooseVideo, example, loseDevice, shows, type VisitOptions } from "./browser";

/** A state of the page that somebody designed: how to get there. */
export interface State {
  name: string;
  query: string;
  ready(page: Page): Promise<void>;
  options?: VisitOptions;
  /** What a picture of it should show: the whole page, or what is seen first. */
  whole?: true;
}

const answered = async (page: Page): Promise<void> => {
  await example(page, "Cat face emoji");
  await page.locator("#caption-result .word").first().waitFor();
  await shows(page, "#answer-result", "a cat");
};

const collect = async (page: Page): Promise<void> => {
  await page.click("#collection-examples");
  await shows(page, "#collection-status", "8 pictures");
};

/** Every state of the page; tests look at each of them in both colour schemes, wide and narrow. */
export const states: readonly State[] = [
  { name: "first-visit", query: "", ready: (page) => shows(page, "#badge", "Ready"), whole: true },
  { name: "loading", query: "?script=loading", ready: (page) => shows(page, "#badge", "MB/s") },
  { name: "answered", query: "", ready: answered, whole: true },
  {
    name: "streaming",
    query: "?script=writing",
    ready: async (page) => {
      await example(page, "Red circle");
      await shows(page, "#caption-result", "with two");
    },
  },
  {
    name: "heat",
    query: "",
    ready: async (page) => {
      await answered(page);
      await page.mouse.move(0, 0);
      await page.locator("#caption-result .word").nth(2).focus();
      await shows(page, "#caption-result", "“face” looks");
    },
  },
  {
    name: "conversation",
    query: "",
    ready: async (page) => {
      await answered(page);
      await page.getByRole("button", { name: "is there a yellow shape?" }).click();
      await shows(page, "#answer-result", "yes");
      await page.fill("#choices", "yes, no");
      await page.fill("#question", "is this a dog?");
      await page.click("#answer-run");
      await shows(page, "#answer-result", "90.0 %");
    },
  },
  {
    name: "thinking",
    query: "?script=thinking",
    ready: async (page) => {
      await example(page, "Red circle");
      await page.locator("#answer-stop").waitFor();
      await page.locator("#caption-result .word").first().waitFor();
    },
  },
  {
    name: "long-texts",
    query: `?script=long&labels=${encodeURIComponent("an extraordinarily-long-label-without-a-single-blank-in-it, a label of many words that goes on and on until it needs a second line, cat")}&question=${encodeURIComponent("is there, somewhere in this picture, perhaps behind the cat, anything that could be taken for a shape?")}`,
    ready: async (page) => {
      await example(page, "Cat face emoji");
      await page.locator("#caption-result .word").first().waitFor();
      await shows(page, "#answer-result", "yes");
    },
    whole: true,
  },
  {
    name: "no-webgpu",
    query: "?script=cpu",
    ready: async (page) => {
      await shows(page, "#badge", "Ready on the CPU");
      await page.click("#webgpu-help summary");
    },
    whole: true,
  },
  { name: "no-simd", query: "?script=unsupported", ready: (page) => shows(page, "#notice", "SIMD") },
  {
    name: "recovering",
    query: "?script=recover&pace=100",
    ready: async (page) => {
      await shows(page, "#badge", "Ready");
      await loseDevice(page);
      await shows(page, "#badge", "Starting the device again");
    },
  },
  {
    name: "lost",
    query: "?script=lost-again",
    ready: async (page) => {
      await example(page, "Red circle");
      await shows(page, "#notice", "went away");
    },
  },
  {
    name: "linked-model",
    query: "?model=hf:owner/coca-large",
    ready: (page) => shows(page, "#notice", "huggingface.co"),
  },
  {
    name: "broken-model",
    query: "?script=weights&model=models/broken/",
    ready: (page) => shows(page, "#notice", "longer than the file"),
  },
  {
    name: "broken-picture",
    query: "",
    ready: async (page) => {
      await shows(page, "#badge", "Ready");
      const holiday = { name: "holiday.jpg", mimeType: "image/jpeg", buffer: Buffer.from("not a picture") };
      await page.setInputFiles("#file", holiday);
      await shows(page, "#picture-problem", "is not a picture");
    },
  },
  {
    name: "cross-origin",
    query: "",
    options: { mayReport: /CORS|ERR_FAILED|Failed to load/ },
    ready: async (page) => {
      await page.route("https://pictures.example/**", (route) => route.abort());
      await page.fill("#address", "https://pictures.example/cat.jpg");
      await page.getByRole("button", { name: "Fetch" }).click();
      await shows(page, "#picture-problem", "CORS");
    },
  },
  {
    name: "offline",
    query: "",
    ready: async (page) => {
      await shows(page, "#badge", "Ready");
      await page.context().setOffline(true);
      await page.locator("#offline").waitFor();
    },
  },
  {
    name: "camera",
    query: "",
    ready: async (page) => {
      await page.click("#webcam-open");
      await page.locator("#webcam-take:enabled").waitFor();
    },
  },
  { name: "live-off", query: "?view=live", ready: (page) => shows(page, "#badge", "Ready") },
  {
    name: "live",
    query: "?view=live",
    ready: async (page) => {
      await page.click("#live-camera");
      await shows(page, "#live-pace", "FPS");
      await shows(page, "#live-result .leading", "%");
    },
  },
  {
    name: "video",
    query: "?view=live",
    ready: async (page) => {
      await shows(page, "#badge", "Ready");
      await chooseVideo(page, "#live-file");
      await shows(page, "#video-result", "the mean of 16 moments");
    },
  },
  {
    name: "no-camera",
    query: "?view=live",
    ready: async (page) => {
      await page.evaluate(() => {
        navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("none", "NotFoundError"));
      });
      await page.click("#live-camera");
      await shows(page, "#live-problem", "No camera was found");
    },
  },
  { name: "collection-empty", query: "?view=search", ready: (page) => shows(page, "#badge", "Ready") },
  {
    name: "collection-adding",
    query: "?view=search&pace=900",
    ready: async (page) => {
      await shows(page, "#badge", "Ready");
      await page.click("#collection-examples");
      await shows(page, "#collection-progress-text", /images\/s.*left/);
    },
  },
  { name: "collection", query: "?view=search", ready: collect },
  {
    name: "found",
    query: "?view=search&q=something+red",
    ready: async (page) => {
      await page.click("#collection-examples");
      await shows(page, "#collection-status", "“something red”");
    },
  },
  {
    name: "collection-problem",
    query: "?view=search",
    ready: async (page) => {
      await shows(page, "#badge", "Ready");
      await page.setInputFiles("#collection-files", [
        { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("notes") },
        { name: "holiday.jpg", mimeType: "image/jpeg", buffer: Buffer.from("not a picture") },
      ]);
      await shows(page, "#collection-problem", "2 files are not among them");
    },
  },
  {
    name: "kept-models",
    query: "?script=kept",
    ready: (page) => shows(page, "#kept", "owner/coca-large"),
    whole: true,
  },
];
