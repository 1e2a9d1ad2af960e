import { expect, it } from "vitest";
import { SteadyNews } from "./steady-news";

/** The times at which something is told, for a leader that is a function of the time. */
function told(leader: (at: number) => string, until: number): [number, string][] {
  const news = new SteadyNews();
  const told: [number, string][] = [];
  for (let at = 0; at <= until; at += 100) {
    const label = news.next(leader(at), at);
    if (label !== undefined) told.push([at, label]);
  }
  return told;
}

it("tells a label once it has led for a while, and only once", () => {
  expect(told(() => "cat", 20_000)).toEqual([[1200, "cat"]]);
});

it("tells nothing while the leader changes all the time", () => {
  expect(told((at) => (at % 1000 < 500 ? "cat" : "dog"), 20_000)).toEqual([]);
});

it("leaves time between two labels", () => {
  expect(told((at) => (at < 2000 ? "cat" : "dog"), 20_000)).toEqual([
    [1200, "cat"],
    [5200, "dog"],
  ]);
});
