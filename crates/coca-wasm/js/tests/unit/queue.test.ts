import { describe, expect, it } from "vitest";
import { JobQueue } from "../../src/worker/queue.js";
import { gate } from "./support/fake-worker.js";

describe("JobQueue", () => {
  it("runs jobs one at a time in the order they came", async () => {
    const queue = new JobQueue();
    const log: string[] = [];
    const job = (name: string, pause: number) => async () => {
      log.push(`${name} begins`);
      await new Promise((resolve) => setTimeout(resolve, pause));
      log.push(`${name} ends`);
    };
    await Promise.all([queue.run(1, job("a", 10)), queue.run(2, job("b", 0)), queue.run(3, job("c", 1))]);
    expect(log).toEqual(["a begins", "a ends", "b begins", "b ends", "c begins", "c ends"]);
  });

  it("does not let a failing job affect the next one", async () => {
    const queue = new JobQueue();
    const failing = queue.run(1, () => Promise.reject(new Error("bad image")));
    const next = queue.run(2, async () => "fine");
    await expect(failing).rejects.toThrow("bad image");
    await expect(next).resolves.toBe("fine");
  });

  it("never starts a job that was aborted while it waited", async () => {
    const queue = new JobQueue();
    const running = gate();
    const first = queue.run(1, () => running.opened);
    let started = false;
    const second = queue.run(2, async () => void (started = true));
    queue.abort(2);
    running.open();
    await first;
    await expect(second).rejects.toMatchObject({ code: "aborted" });
    expect(started).toBe(false);
  });

  it("signals a running job", async () => {
    const queue = new JobQueue();
    const started = gate();
    const stopped = queue.run(1, (signal) => {
      started.open();
      return new Promise((resolve) => signal.addEventListener("abort", () => resolve("stopped")));
    });
    await started.opened;
    queue.abort(1);
    await expect(stopped).resolves.toBe("stopped");
    queue.abort(1);
  });
});
