/** What the page's own address can ask for. */
export interface UrlState {
  /** Absolute address of a model folder; absent: the small model that ships with the page. */
  model?: string;
  device: Device;
}

export const devices = ["auto", "webgpu", "cpu"] as const;
export type Device = (typeof devices)[number];

export function isDevice(value: string | null): value is Device {
  return devices.some((device) => device === value);
}

/** Reads `?model=` and `?device=`; anything that cannot be used is left out. */
export function readUrl(address: string): UrlState {
  const parameters = new URL(address).searchParams;
  const device = parameters.get("device");
  const state: UrlState = { device: isDevice(device) ? device : "auto" };
  const model = parseModelAddress(parameters.get("model") ?? "", address);
  if (model !== undefined) state.model = model;
  return state;
}

/** The page's address with this state, the rest of it unchanged; defaults leave no trace. */
export function writeUrl(address: string, state: UrlState): string {
  const url = new URL(address);
  if (state.model === undefined) url.searchParams.delete("model");
  else url.searchParams.set("model", state.model);
  if (state.device === "auto") url.searchParams.delete("device");
  else url.searchParams.set("device", state.device);
  return url.href;
}

/** The absolute address that was typed, relative to the page, or `undefined` when it is empty or not http(s). */
export function parseModelAddress(text: string, base: string): string | undefined {
  const trimmed = text.trim();
  if (trimmed === "" || !URL.canParse(trimmed, base)) return undefined;
  const url = new URL(trimmed, base);
  return url.protocol === "https:" || url.protocol === "http:" ? url.href : undefined;
}
