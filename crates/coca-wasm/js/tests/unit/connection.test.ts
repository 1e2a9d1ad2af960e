import { describe, expect, it, vi } from "vitest";
import { Connection } from "../../src/connection.js";
import { CocaError } from "../../src/error.js";
import type { Handlers } from "../../src/worker/server.js";
import { FakeWorker, gate, settle, workerLike } from "./support/fake-worker.js";

const TEXTS = { texts: ["a"] };

function connect(handlers: Partial<Handlers>): { worker: FakeWorker; connection: Connection } {
  const worker = new FakeWorker(handlers);
  return { worker, connection: new Connection(workerLike(worker), undefined) };
}

describe("Connection", () => {
  it("keeps class, code, message and cause of errors", async () => {
    const { connection } = connect({
      embedText: async () => {
        throw new CocaError("image-decode", "not an image", { cause: new TypeError("bytes") });
      },
    });
    const error: unknown = await connection.call("embedText", TEXTS).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(CocaError);
    expect(error).toMatchObject({ code: "image-decode", message: "not an image", name: "CocaError" });
    expect((error as CocaError).cause).toMatchObject({ name: "TypeError", message: "bytes" });
  });

  it("turns what Rust throws into a CocaError", async () => {
    const { connection } = connect({
      embedText: () => Promise.reject({ code: "weights-invalid", message: "no such tensor" }),
    });
    await expect(connection.call("embedText", TEXTS)).rejects.toMatchObject({ code: "weights-invalid", message: "no such tensor" });
    await expect(connection.call("embedText", TEXTS)).rejects.toBeInstanceOf(CocaError);
  });

  it("answers many calls in order, with a failing one among them", async () => {
    const { connection } = connect({
      embedText: async ({ texts }) => {
        if (texts[0] === "7") throw new CocaError("invalid-argument", "seven");
        return [Float32Array.of(Number(texts[0]))];
      },
    });
    const order: number[] = [];
    const calls = Array.from({ length: 20 }, (_, index) =>
      connection.call("embedText", { texts: [String(index)] }).then(
        ([vector]) => order.push(vector?.[0] ?? -1),
        () => order.push(-7),
      ),
    );
    await Promise.all(calls);
    expect(order).toEqual(Array.from({ length: 20 }, (_, index) => (index === 7 ? -7 : index)));
  });

  it("aborts a queued call at once, and the worker never starts it", async () => {
    const running = gate();
    const started: string[] = [];
    const { connection } = connect({
      embedText: async ({ texts }) => {
        started.push(texts[0] ?? "");
        await running.opened;
        return [];
      },
    });
    const first = connection.call("embedText", { texts: ["first"] });
    const controller = new AbortController();
    const second = connection.call("embedText", { texts: ["second"] }, { signal: controller.signal });
    controller.abort("enough");
    await expect(second).rejects.toMatchObject({ code: "aborted", cause: "enough" });
    running.open();
    await first;
    await connection.call("embedText", { texts: ["third"] });
    expect(started).toEqual(["first", "third"]);
  });

  it("tells a running call that it was aborted", async () => {
    const stopped = gate();
    const { connection } = connect({
      caption: async (_, { signal, emit }) => {
        emit("a");
        await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
        stopped.open();
        return [];
      },
    });
    const controller = new AbortController();
    const params = { images: [], generation: {} as never };
    const call = connection.call("caption", params, { signal: controller.signal, onEvent: () => controller.abort() });
    await expect(call).rejects.toMatchObject({ code: "aborted" });
    await stopped.opened;
  });

  it("does not send a call whose signal is already aborted", async () => {
    const embedText = vi.fn<Handlers["embedText"]>(async () => []);
    const { connection } = connect({ embedText });
    const call = connection.call("embedText", TEXTS, { signal: AbortSignal.abort() });
    await expect(call).rejects.toMatchObject({ code: "aborted" });
    await settle();
    expect(embedText).not.toHaveBeenCalled();
  });

  it("rejects a call with what its own callback throws, and aborts it", async () => {
    let aborted = false;
    const { connection } = connect({
      caption: async (_, { signal, emit }) => {
        emit("a");
        await settle();
        aborted = signal.aborted;
        return [];
      },
    });
    const params = { images: [], generation: {} as never };
    const onEvent = (): void => {
      throw new Error("from the page");
    };
    await expect(connection.call("caption", params, { onEvent })).rejects.toThrow("from the page");
    await settle();
    await settle();
    expect(aborted).toBe(true);
  });

  it("rejects everything after a panic and stops the worker", async () => {
    const { worker, connection } = connect({ embedText: () => new Promise(() => undefined) });
    const running = connection.call("embedText", TEXTS);
    const queued = connection.call("embedText", TEXTS);
    worker.server?.fatal(new CocaError("panic", "index out of bounds"));
    await expect(running).rejects.toMatchObject({ code: "panic" });
    await expect(queued).rejects.toMatchObject({ code: "panic" });
    expect(worker.terminated).toBe(true);
    const late = connection.call("embedText", TEXTS);
    await expect(late).rejects.toMatchObject({ code: "panic" });
    await expect(late).rejects.toThrow("must be loaded again");
  });

  it("ends when wasm traps without a message", async () => {
    const { worker, connection } = connect({
      embedText: () => Promise.reject(new WebAssembly.RuntimeError("unreachable")),
    });
    await expect(connection.call("embedText", TEXTS)).rejects.toMatchObject({ code: "out-of-memory" });
    expect(worker.terminated).toBe(true);
  });

  it("ends when the worker script fails", async () => {
    const { worker, connection } = connect({ embedText: () => new Promise(() => undefined) });
    const call = connection.call("embedText", TEXTS);
    worker.dispatchEvent(new Event("error"));
    await expect(call).rejects.toMatchObject({ code: "worker-failed" });
  });

  it("says what cannot be sent", async () => {
    const { connection } = connect({ embedText: async () => [] });
    const call = connection.call("embedText", { texts: [(() => undefined) as unknown as string] });
    await expect(call).rejects.toMatchObject({ code: "invalid-argument" });
  });

  it("hands messages to the logger only", async () => {
    const worker = new FakeWorker({});
    const warn = vi.fn();
    new Connection(workerLike(worker), { warn });
    worker.server?.log("warn", "careful");
    worker.server?.log("info", "nobody listens");
    await settle();
    expect(warn.mock.calls).toEqual([["careful"]]);
  });
});
