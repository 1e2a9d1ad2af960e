import { expect, it } from "vitest";
import { Pace } from "./pace";

it("needs two frames to tell", () => {
  const pace = new Pace();
  pace.add(0);
  expect(pace.perSecond).toBeUndefined();
  pace.add(100);
  expect(pace.perSecond).toBe(10);
});

it("follows a change within two seconds", () => {
  const pace = new Pace();
  for (let at = 0; at <= 5000; at += 100) pace.add(at);
  for (let at = 6000; at <= 9000; at += 1000) pace.add(at);
  expect(pace.perSecond).toBe(1);
});
