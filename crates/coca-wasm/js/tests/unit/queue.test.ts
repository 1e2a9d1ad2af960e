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

  it("lets others go first when a job gives way, in the order they came", async () => {
    const queue = new JobQueue();
    const log: string[] = [];
    const long = (name: string) => queue.run(name.charCodeAt(0), async (_, turn) => {
      for (let part = 1; part <= 3; part++) {
        if (part > 1) await turn();
        log.push(name + part);
      }
    });
    const short = queue.run.bind(queue, 9, async () => void log.push("short"));
    await Promise.all([long("a"), long("b"), short()]);
    expect(log).toEqual(["a1", "b1", "short", "a2", "b2", "a3", "b3"]);
  });

  it("stops a job that was aborted while it gave way, and goes on with the others", async () => {
    const queue = new JobQueue();
    const aborted = queue.run(1, async (_, turn) => {
      queue.abort(1);
      await turn();
    });
    await expect(aborted).rejects.toMatchObject({ code: "aborted" });
    await expect(queue.run(2, async () => "next")).resolves.toBe("next");
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
