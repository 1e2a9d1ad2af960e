import { describe, expect, it } from "vitest";
import { Connection } from "../../src/connection.js";
import { CocaError, type CocaErrorCode } from "../../src/error.js";
import { ModelHost, type Restart } from "../../src/host.js";
import type { LoadOptions, ModelInfo } from "../../src/types.js";
import type { Handlers } from "../../src/worker/server.js";
import { FakeWorker, gate, settle, workerLike } from "./support/fake-worker.js";

const GPU = { device: "webgpu", reason: "there" } as unknown as ModelInfo;
const GENERATION = {
  images: [],
  generation: { prefix: undefined, maxTokens: undefined, minTokens: undefined, beams: undefined, topK: undefined, topP: undefined, temperature: undefined, seed: undefined },
};
const CAPTION = { caption: "abc", tokens: [], logProb: 0, timings: { firstTokenMs: 0, totalMs: 0, tokensPerSecond: 0 } };

/** A host whose workers fail as told: the n-th worker has the n-th handlers, and the last ones ever after. */
function host(handlers: Partial<Handlers>[], options: LoadOptions = { device: "webgpu" }) {
  const workers: FakeWorker[] = [];
  const reasons: (string | undefined)[] = [];
  const start = () => {
    const worker = new FakeWorker(handlers[Math.min(workers.length, handlers.length - 1)] ?? {});
    workers.push(worker);
    return new Connection(workerLike(worker), undefined);
  };
  const restart: Restart = async (reason) => {
    reasons.push(reason);
    return { connection: start(), info: reason === undefined ? GPU : ({ device: "cpu", reason } as unknown as ModelInfo) };
  };
  const first = { connection: start(), info: GPU };
  return { host: new ModelHost(first, restart, options), workers, reasons };
}

const fail = (worker: FakeWorker | undefined, code: CocaErrorCode): void => {
  worker?.server?.fatal(new CocaError(code, `the worker reports ${code}`));
};
const never = () => new Promise<never>(() => undefined);
const texts = { texts: ["a"] };
const works: Partial<Handlers> = { embedText: async () => [Float32Array.of(1)] };

describe("ModelHost", () => {
  it("loads the model again after a loss, and makes the pending calls once more", async () => {
    const told: string[] = [];
    const set = host([{ embedText: never }, works], { device: "webgpu", onRecover: ({ code }) => told.push(code) });
    const pending = [set.host.call("embedText", texts), set.host.call("embedText", texts)];
    await settle();
    fail(set.workers[0], "device-lost");
    expect(await Promise.all(pending)).toHaveLength(2);
    expect(told).toEqual(["device-lost"]);
    expect(set.reasons).toEqual([undefined]);
    expect(set.workers.map(({ terminated }) => terminated)).toEqual([true, false]);
  });

  it("recovers though nobody is waiting, and lets calls that come meanwhile wait", async () => {
    const set = host([{}, works]);
    fail(set.workers[0], "device-lost");
    await settle();
    expect(set.workers).toHaveLength(2);
    await expect(set.host.call("embedText", texts)).resolves.toHaveLength(1);
  });

  it("recovers when a call itself reports the loss", async () => {
    const lost: Partial<Handlers> = { embedText: () => Promise.reject(new CocaError("device-lost", "poisoned")) };
    const set = host([lost, works]);
    await expect(set.host.call("embedText", texts)).resolves.toHaveLength(1);
  });

  it("makes a call only once more, and gives a device up that is lost again and again", async () => {
    const lost: Partial<Handlers> = { embedText: () => Promise.reject(new CocaError("device-lost", "poisoned")) };
    const set = host([lost]);
    for (let call = 0; call < 5; call++) {
      await expect(set.host.call("embedText", texts)).rejects.toMatchObject({ code: "device-lost" });
    }
    expect(set.reasons).toEqual([undefined, undefined, undefined]);
  });

  it("does not pass the pieces on twice", async () => {
    const pieces: string[] = [];
    const started = gate();
    const caption: Handlers["caption"] = async (_, { emit }) => {
      emit("a");
      emit("b");
      started.open();
      return never();
    };
    const whole: Handlers["caption"] = async (_, { emit }) => {
      for (const piece of "abc") emit(piece);
      return [CAPTION];
    };
    const set = host([{ caption }, { caption: whole }]);
    const call = set.host.call("caption", GENERATION, { onEvent: (piece) => pieces.push(piece) });
    await started.opened;
    await settle();
    fail(set.workers[0], "device-lost");
    await expect(call).resolves.toEqual([CAPTION]);
    expect(pieces).toEqual(["a", "b", "c"]);
  });

  it.each(["out-of-memory", "webgpu-failed"] as const)("takes the CPU after %s with `auto`, and says why", async (code) => {
    const set = host([{ embedText: never }, works], {});
    const pending = set.host.call("embedText", texts);
    await settle();
    fail(set.workers[0], code);
    await expect(pending).resolves.toHaveLength(1);
    expect(set.host.info).toMatchObject({ device: "cpu", reason: expect.stringContaining(code) });
  });

  it.each(["out-of-memory", "panic"] as const)("stays stopped after %s when WebGPU was asked for", async (code) => {
    const set = host([{ embedText: never }]);
    const pending = set.host.call("embedText", texts);
    await settle();
    fail(set.workers[0], code);
    await expect(pending).rejects.toMatchObject({ code });
    await expect(set.host.call("embedText", texts)).rejects.toMatchObject({ code });
    expect(set.workers).toHaveLength(1);
  });

  it("says why the model could not be loaded again, and tries anew with the next call", async () => {
    const worker = new FakeWorker({ embedText: never });
    const first = { connection: new Connection(workerLike(worker), undefined), info: GPU };
    let online = false;
    const restart: Restart = async () => {
      if (!online) throw new CocaError("network", "offline");
      return { connection: new Connection(workerLike(new FakeWorker(works)), undefined), info: GPU };
    };
    const model = new ModelHost(first, restart, { device: "webgpu" });
    const pending = model.call("embedText", texts);
    await settle();
    fail(worker, "device-lost");
    await expect(pending).rejects.toMatchObject({ code: "network" });
    online = true;
    await expect(model.call("embedText", texts)).resolves.toHaveLength(1);
  });

  it("can be disposed and aborted while it recovers", async () => {
    const worker = new FakeWorker({ embedText: never });
    const first = { connection: new Connection(workerLike(worker), undefined), info: GPU };
    const started = gate();
    let stop: AbortSignal | undefined;
    const restart: Restart = (_, signal) => {
      stop = signal;
      started.open();
      return new Promise((__, reject) => signal.addEventListener("abort", () => reject(new CocaError("aborted", "stopped"))));
    };
    const model = new ModelHost(first, restart, { device: "webgpu" });
    const controller = new AbortController();
    const aborted = model.call("embedText", texts, { signal: controller.signal });
    const pending = model.call("embedText", texts);
    await settle();
    fail(worker, "device-lost");
    await started.opened;
    controller.abort();
    await expect(aborted).rejects.toMatchObject({ code: "aborted" });
    model.end(new CocaError("disposed", "the model was disposed"));
    await expect(pending).rejects.toMatchObject({ code: "disposed" });
    expect(stop?.aborted).toBe(true);
  });
});
