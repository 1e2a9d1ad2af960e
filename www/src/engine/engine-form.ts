import { byId } from "../dom";
import { isDevice, parseModelAddress } from "../shell/url-state";
import type { Engine, Wanted } from "./engine";

/** Wires the form that chooses the model and the device. */
export function watchEngineForm(engine: Engine, load: (wanted: Wanted) => void): void {
  const address = byId("model-address", HTMLInputElement);
  const device = byId("device", HTMLSelectElement);
  const folder = byId("model-folder", HTMLInputElement);

  byId("engine-form", HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault();
    const wanted = read();
    if (wanted !== undefined) load(wanted);
  });
  address.addEventListener("input", () => address.setCustomValidity(""));
  folder.addEventListener("change", () => {
    const files = [...(folder.files ?? [])];
    folder.value = "";
    if (files.length > 0) load({ files, device: chosenDevice() });
  });
  engine.state.watch(({ phase }) => {
    if (phase !== "loading" && phase !== "checking" && phase !== "asking") return;
    address.value = engine.wanted.model ?? "";
    device.value = engine.wanted.device;
  });

  function chosenDevice(): Wanted["device"] {
    return isDevice(device.value) ? device.value : "auto";
  }

  function read(): Wanted | undefined {
    const model = parseModelAddress(address.value, document.baseURI);
    const bad = model === undefined && address.value.trim() !== "";
    address.setCustomValidity(bad ? "Give a web address that starts with https://, or hf:owner/name" : "");
    if (!address.reportValidity()) return undefined;
    if (model !== undefined) return { model, device: chosenDevice() };
    // A folder of this device stays chosen when only the device changes.
    const { files } = engine.wanted;
    const same = files !== undefined && chosenDevice() !== engine.wanted.device;
    return same ? { files, device: chosenDevice() } : { device: chosenDevice() };
  }
}
