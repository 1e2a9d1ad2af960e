import { announce } from "../dom";
import type { Address } from "../shell/address";
import { deviceName, showBadge } from "./badge";
import type { Engine, EngineState, Wanted } from "./engine";
import { watchEngineForm } from "./engine-form";
import { showFacts } from "./facts";
import { showNotice } from "./notice";
import { showWebgpuHelp } from "./webgpu-help";

/**
 * Shows what the model is doing: the badge, the notice and the facts; and wires the form that changes it. Gives the way
 * to load another model, which notes it in the page's address.
 */
export function showEngine(engine: Engine, address: Address): (wanted: Wanted) => void {
  const load = (wanted: Wanted): void => {
    address.change({ model: wanted.model, device: wanted.device });
    void engine.load(wanted);
  };
  watchEngineForm(engine, load);

  let phase: EngineState["phase"] | undefined;
  engine.state.watch((state) => {
    showBadge(state);
    if (state.phase === phase) return;
    phase = state.phase;
    document.body.dataset["engine"] = phase;
    showNotice(engine, state, load);
    showFacts(state);
    showWebgpuHelp(engine, state);
    if (state.phase === "ready") announce(`The model is ready on ${deviceName(state.model.info)}.`);
    if (state.phase === "loading") announce("The model is loading.");
    if (state.phase === "recovering")
      announce("The graphics processor went away and is being started again.");
  });
  return load;
}
