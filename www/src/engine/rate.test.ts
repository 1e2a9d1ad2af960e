import { expect, it } from "vitest";
import { Rate } from "./rate";

it("says nothing before it can tell", () => {
  const rate = new Rate();
  rate.add("a", 1000, 0);
  rate.add("a", 2000, 100);
  expect(rate.perSecond).toBeUndefined();
  expect(rate.secondsFor(1)).toBeUndefined();
});

it("counts the bytes of all files", () => {
  const rate = new Rate();
  rate.add("a", 0, 0);
  rate.add("a", 1000, 500);
  rate.add("b", 3000, 1000);
  expect(rate.perSecond).toBe(4000);
  expect(rate.secondsFor(8000)).toBe(2);
});

it("forgets how fast it was long ago", () => {
  const rate = new Rate();
  for (let second = 0; second <= 20; second += 1)
    rate.add("a", second < 10 ? 0 : (second - 10) * 100, second * 1000);
  expect(rate.perSecond).toBe(100);
});

it("takes a standstill for no rate", () => {
  const rate = new Rate();
  rate.add("a", 500, 0);
  rate.add("a", 500, 1000);
  expect(rate.perSecond).toBeUndefined();
});
