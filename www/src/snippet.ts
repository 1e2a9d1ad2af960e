import type { Device } from "./url-state";

/** What the page last did with the picture, with the settings that were used. */
export interface Actions {
  classify?: { labels: readonly string[]; template: string };
  caption?: { prefix: string; search: Search };
  answer?: { question: string; choices: readonly string[] };
}

/** How the words of a caption are chosen. */
export type Search =
  { kind: "greedy" } | { kind: "beams"; beams: number } | { kind: "sample"; topK: number; seed: number };

export interface Setting {
  /** Address of the model folder; absent: the model that ships with the package. */
  model?: string;
  device: Device;
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
  lines.push(`const image = ${setting.image};`);
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
  if (actions.answer) {
    const { question, choices } = actions.answer;
    const names = choices.length > 0 ? "{ answer, choices }" : "{ answer }";
    const extra = choices.length > 0 ? `, { choices: ${list(choices)} }` : "";
    lines.push("", `const ${names} = await model.answer(image, ${JSON.stringify(question)}${extra});`);
  }
  return lines.join("\n");
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
