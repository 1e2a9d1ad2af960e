import { announce, byId, make } from "../dom";
import { duration, figure } from "../format";
import { isAborted, messageOf } from "./problem";
import type { Engine } from "./engine";
import { measure, type Measurement, type Measurements } from "./measurements";
import { sentence } from "../sentence";

const columns: readonly [title: string, cell: (row: Measurement) => string][] = [
  ["Load", (row) => duration(row.loadMs)],
  ["Encode", ({ encodeMs }) => (encodeMs === undefined ? "–" : duration(encodeMs))],
  ["First token", ({ firstTokenMs }) => (firstTokenMs === undefined ? "–" : duration(firstTokenMs))],
  ["Tokens/s", ({ tokensPerSecond }) => (tokensPerSecond === undefined ? "–" : figure(tokensPerSecond))],
  ["Images/s", ({ imagesPerSecond }) => (imagesPerSecond === undefined ? "–" : figure(imagesPerSecond))],
];

/**
 * Shows the times of every model and device that was used, to compare, and wires the button that measures.
 * @param sample gives the picture to measure with
 */
export function showMeasurements(
  measurements: Measurements,
  engine: Engine,
  sample: () => Promise<Blob>,
): void {
  const button = byId("measure", HTMLButtonElement);
  const status = byId("measure-status", HTMLParagraphElement);
  const body = byId("measured", HTMLTableSectionElement);
  byId("measured-head", HTMLTableRowElement).append(
    ...["Model", ...columns.map(([title]) => title)].map((title) => make("th", { scope: "col" }, title)),
  );

  measurements.rows.watch((rows) => {
    byId("measured-table", HTMLDivElement).hidden = rows.length === 0;
    body.replaceChildren(
      ...rows.map((row) => {
        const device = make("span", { className: "quiet" }, row.device === "webgpu" ? "WebGPU" : "CPU");
        const head = make("th", { scope: "row" }, row.name, " ", device);
        return make("tr", {}, head, ...columns.map(([, cell]) => make("td", {}, cell(row))));
      }),
    );
  });

  let running: AbortController | undefined;
  const busy = (on: boolean): void => {
    button.textContent = on ? "Stop" : "Measure";
    if (!on) running = undefined;
  };
  button.addEventListener("click", async () => {
    if (running) return running.abort();
    const { model } = engine;
    if (model === undefined) return;
    const { signal } = (running = new AbortController());
    busy(true);
    status.textContent = "Measuring: eight encodings and one caption …";
    try {
      measurements.note(model.info, await measure(model, await sample(), signal));
      status.textContent = "Measured just now, on this device, with this page.";
      announce("Measured.");
    } catch (error) {
      status.textContent = isAborted(error) ? "" : sentence(messageOf(error));
    } finally {
      busy(false);
    }
  });
  engine.state.watch((state) => {
    if (state.phase === "ready") measurements.note(state.model.info);
    else running?.abort();
    button.disabled = state.phase !== "ready";
  });
}
