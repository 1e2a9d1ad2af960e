/** What the page's own address can ask for: a link to it brings back the same settings. */
export interface UrlState {
  /** A model folder, as an absolute address or as `hf:owner/name`; absent: the small model that ships with the page. */
  model?: string;
  device: Device;
  view: View;
  /** File name of one of the page's own examples. Never an address: a link must not make the page fetch anything. */
  picture?: string;
  /** What the visitor wrote into the boxes, by the name it has in the address. */
  texts: Partial<Record<TextName, string>>;
}

export const devices = ["auto", "webgpu", "cpu"] as const;
export type Device = (typeof devices)[number];

/** The rooms of the page. */
export const views = ["picture", "live", "search"] as const;
export type View = (typeof views)[number];

export const textNames = [
  "labels",
  "template",
  "prefix",
  "words",
  "question",
  "choices",
  "live",
  "q",
] as const;
export type TextName = (typeof textNames)[number];

/** Longer texts make addresses that other programs cut. */
const maxLength = 1000;

export function isDevice(value: string | null): value is Device {
  return devices.some((device) => device === value);
}

export function isView(value: string | null): value is View {
  return views.some((view) => view === value);
}

/** Reads the page's address; anything that cannot be used is left out. */
export function readUrl(address: string): UrlState {
  const parameters = new URL(address).searchParams;
  const [device, view, picture] = ["device", "view", "picture"].map((name) => parameters.get(name));
  const state: UrlState = {
    device: isDevice(device ?? null) ? (device as Device) : "auto",
    view: isView(view ?? null) ? (view as View) : "picture",
    texts: {},
  };
  if (/^[\w-]+\.png$/.test(picture ?? "")) state.picture = picture as string;
  const model = parseModelAddress(parameters.get("model") ?? "", address);
  if (model !== undefined) state.model = model;
  for (const name of textNames) {
    const text = parameters.get(name);
    if (text !== null && text !== "" && text.length <= maxLength) state.texts[name] = text;
  }
  return state;
}

/** The page's address with this state, the rest of it unchanged; defaults leave no trace. */
export function writeUrl(address: string, state: UrlState): string {
  const url = new URL(address);
  const put = (name: string, text: string | undefined): void => {
    if (text === undefined || text === "" || text.length > maxLength) url.searchParams.delete(name);
    else url.searchParams.set(name, text);
  };
  put("model", state.model);
  put("device", state.device === "auto" ? undefined : state.device);
  put("view", state.view === "picture" ? undefined : state.view);
  put("picture", state.picture);
  for (const name of textNames) put(name, state.texts[name]);
  return url.href;
}

/**
 * What was typed as a model: an absolute http(s) address, made so relative to the page, or `hf:owner/name[@revision]`;
 * `undefined` when it is empty or neither.
 */
export function parseModelAddress(text: string, base: string): string | undefined {
  const trimmed = text.trim();
  if (/^hf:[\w.-]+\/[\w.-]+(@[\w./-]+)?$/.test(trimmed)) return trimmed;
  if (trimmed === "" || !URL.canParse(trimmed, base)) return undefined;
  const url = new URL(trimmed, base);
  return url.protocol === "https:" || url.protocol === "http:" ? url.href : undefined;
}

/** Where a model would be downloaded from. */
export function hostOf(model: string): string {
  return model.startsWith("hf:") ? "huggingface.co" : new URL(model).host;
}
