import { expect, it } from "vitest";
import { SteadyScores } from "./steady-scores";

const frame = (cat: number): { label: string; score: number }[] => [
  { label: "cat", score: cat },
  { label: "dog", score: 1 - cat },
];

it("shows the first frame as it is, in the order of the labels", () => {
  const steady = new SteadyScores(["dog", "cat"]);
  steady.add(frame(0.8));
  expect(steady.all.map(({ label }) => label)).toEqual(["dog", "cat"]);
  expect(steady.leader).toEqual({ label: "cat", score: 0.8 });
});

it("does not jump for one odd frame, and follows several", () => {
  const steady = new SteadyScores(["cat", "dog"]);
  steady.add(frame(1));
  steady.add(frame(0));
  expect(steady.leader?.label).toBe("cat");
  for (let index = 0; index < 5; index += 1) steady.add(frame(0));
  expect(steady.leader?.label).toBe("dog");
});

it("keeps the sum at 1", () => {
  const steady = new SteadyScores(["cat", "dog"]);
  for (const cat of [0.2, 0.9, 0.5]) steady.add(frame(cat));
  expect(steady.all.reduce((sum, { score }) => sum + score, 0)).toBeCloseTo(1);
});

it("ignores a label it does not know", () => {
  const steady = new SteadyScores(["cat"]);
  steady.add([{ label: "ship", score: 1 }]);
  expect(steady.all).toEqual([{ label: "cat", score: 0 }]);
});
