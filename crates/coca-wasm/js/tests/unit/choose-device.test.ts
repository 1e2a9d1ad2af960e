import { describe, expect, it } from "vitest";
import type { Probe } from "../../src/support.js";
import { chooseDevice } from "../../src/worker/choose-device.js";

const INFO = { vendor: "v", architecture: "a", device: "", description: "" };
const hardware: Probe = { ok: true, info: INFO, software: false, features: [], limits: {} };
const software: Probe = { ...hardware, software: true };
const none: Probe = { ok: false, reason: "no adapter" };

describe("chooseDevice", () => {
  it.each([
    ["auto", hardware, "webgpu"],
    ["auto", software, "cpu"],
    ["auto", none, "cpu"],
    ["webgpu", hardware, "webgpu"],
    ["webgpu", software, "webgpu"],
    ["cpu", hardware, "cpu"],
  ] as const)("with %s and %j takes %s", async (choice, probe, kind) => {
    const device = await chooseDevice(choice, async () => probe);
    expect(device.kind).toBe(kind);
    expect(device.reason).not.toBe("");
  });

  it("refuses `webgpu` where there is none, and says why", async () => {
    const chosen = chooseDevice("webgpu", async () => none);
    await expect(chosen).rejects.toMatchObject({ code: "webgpu-unavailable", message: "no adapter" });
  });

  it("does not even look for a GPU when the CPU was asked for", async () => {
    const probe = () => Promise.reject(new Error("looked"));
    await expect(chooseDevice("cpu", probe)).resolves.toMatchObject({ kind: "cpu" });
  });
});
