import type { ModelInfo } from "coca-wasm";
import { byId, make } from "../dom";
import { count, duration } from "../format";
import { deviceName } from "./badge";
import type { EngineState } from "./engine";

/** Lists what is known about the loaded model. */
export function showFacts(state: EngineState): void {
  const loaded = state.phase === "ready" || state.phase === "recovering";
  const rows: [string, string][] = loaded
    ? facts(state.model.info, state.fromCache)
    : [["Model", "none yet"]];
  byId("facts", HTMLDListElement).replaceChildren(
    ...rows.flatMap(([term, text]) => [make("dt", {}, term), make("dd", {}, text)]),
  );
}

function facts(info: ModelInfo, fromCache: boolean): [string, string][] {
  const { timings } = info;
  const rows: [string, string][] = [
    ["Model", info.revision === undefined ? info.name : `${info.name}, revision ${info.revision}`],
    ["Size", `${count(info.parameters)} parameters, ${info.dtype}`],
    ["Device", `${deviceName(info)}: ${info.reason}`],
  ];
  if (info.adapter) rows.push(["Adapter", adapterName(info.adapter)]);
  rows.push(["Checked", checks(info)]);
  const way = fromCache ? "reading from this device" : "download";
  rows.push(["Loaded in", `${duration(timings.totalMs)}, of which ${duration(timings.downloadMs)} ${way}`]);
  return rows;
}

function checks(info: ModelInfo): string {
  const files = info.verified ? "every file by SHA-256" : "files came without checksums";
  if (info.selfTestError === undefined) return files;
  return `${files}; self-test within ${info.selfTestError.toExponential(0)}`;
}

function adapterName(adapter: NonNullable<ModelInfo["adapter"]>): string {
  const names = [adapter.vendor, adapter.architecture, adapter.device, adapter.description].filter(
    (name) => name !== "",
  );
  return [...new Set(names)].join(", ") || "the browser does not say";
}
