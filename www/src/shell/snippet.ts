import type { Device, View } from "./url-state";

/** What the page last did with the picture, with the settings that were used. */
export interface Actions {
  classify?: { labels: readonly string[]; template: string };
  caption?: { prefix: string; search: Search };
  explain?: true;
  answer?: { question: string; choices: readonly string[] };
  /** Labels for what a video shows; `file`: a whole one as well. */
  live?: { labels: readonly string[]; file: boolean };
  /** Search among many pictures; without a text, by a picture. */
  search?: { query: string | undefined };
}

/** How the words of a caption are chosen. */
export type Search =
  { kind: "greedy" } | { kind: "beams"; beams: number } | { kind: "sample"; topK: number; seed: number };

export interface Setting {
  /** Address of the model folder; absent: the model that ships with the package. */
  model?: string;
  device: Device;
  /** Which room's code. */
  view: View;
  /** A JavaScript expression that gives the picture. */
  image: string;
}

/** JavaScript that does with the package what the page just did. */
export function snippet(setting: Setting, actions: Actions): string {
  const lines = [
    'import { CoCa } from "coca-wasm";',
    "",
    `const model = await CoCa.load(${loadArguments(setting)});`,
  ];
  const rooms = { picture: pictureLines, live: liveLines, search: searchLines };
  lines.push(...rooms[setting.view](setting, actions));
  return lines.join("\n");
}

function pictureLines(setting: Setting, actions: Actions): string[] {
  const lines = [`const image = ${setting.image};`];
  if (actions.classify) {
    const { labels, template } = actions.classify;
    lines.push(
      "",
      `const labels = await model.classify(image, ${list(labels)}${options({ template: template || undefined })});`,
    );
  }
  if (actions.caption) {
    const { prefix, search } = actions.caption;
    const { kind, ...how } = search;
    const settings = options({ prefix: prefix || undefined, ...how });
    lines.push("");
    if (kind === "beams") lines.push(`const { caption } = await model.caption(image${settings});`);
    else lines.push(`for await (const piece of model.captionStream(image${settings})) show(piece);`);
  }
  if (actions.explain) lines.push("const { words } = await model.explain(image);");
  if (actions.answer) {
    const { question, choices } = actions.answer;
    const names = choices.length > 0 ? "{ answer, choices }" : "{ answer }";
    const extra = choices.length > 0 ? `, { choices: ${list(choices)} }` : "";
    lines.push("", `const ${names} = await model.answer(image, ${JSON.stringify(question)}${extra});`);
  }
  return lines;
}

function liveLines(_setting: Setting, { live }: Actions): string[] {
  const lines = ['const video = document.querySelector("video");'];
  if (live === undefined) return lines;
  lines.push(
    "",
    `const classifier = await model.classifier(${list(live.labels)});`,
    "video.requestVideoFrameCallback(async function next() {",
    "  show(await classifier.classify(video));",
    "  video.requestVideoFrameCallback(next);",
    "});",
  );
  if (live.file)
    lines.push("", "const whole = await model.classifyVideo(video, classifier, { frames: 16 });");
  return lines;
}

function searchLines(_setting: Setting, { search }: Actions): string[] {
  const lines = [
    "const index = model.imageIndex();",
    "for (const file of input.files) await index.add(file, { id: file.name });",
  ];
  if (search === undefined) return lines;
  const query = search.query === undefined ? "picture" : JSON.stringify(search.query || "a red circle");
  return [...lines, "", `const hits = await index.search(${query}, { topK: 24 });`];
}

function loadArguments({ model, device }: Setting): string {
  const settings = device === "auto" ? "" : `{ device: "${device}" }`;
  if (model !== undefined) return [JSON.stringify(model), settings].filter(Boolean).join(", ");
  return settings && `undefined, ${settings}`;
}

/** A list of strings, on one line when it is short. */
function list(items: readonly string[]): string {
  const words = items.map((item) => JSON.stringify(item));
  const line = `[${words.join(", ")}]`;
  return line.length <= 48 ? line : `[\n  ${words.join(",\n  ")},\n]`;
}

/** `, { … }` with the settings that are given, or nothing. */
function options(settings: Record<string, string | number | undefined>): string {
  const given = Object.entries(settings).filter(([, value]) => value !== undefined);
  if (given.length === 0) return "";
  return `, { ${given.map(([name, value]) => `${name}: ${JSON.stringify(value)}`).join(", ")} }`;
}
