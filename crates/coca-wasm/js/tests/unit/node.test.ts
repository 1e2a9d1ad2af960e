import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { nodePlatform } from "../../src/node-platform.js";
import { fetchWithFiles } from "../../src/worker/node-fetch.js";

let folder: string;
const fetching = fetchWithFiles(async () => new Response("from the network"));
const at = (name: string): string => pathToFileURL(join(folder, name)).href;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "coca #1 %20 "));
  writeFileSync(join(folder, "a b.json"), "0123456789");
});
afterAll(() => rmSync(folder, { recursive: true }));

describe("fetchWithFiles", () => {
  it("reads files, whole and from a place on", async () => {
    const whole = await fetching(at("a b.json"));
    expect([whole.status, whole.headers.get("content-length"), whole.headers.get("content-type")]).toEqual([200, "10", "application/json"]);
    expect(await whole.text()).toBe("0123456789");
    const rest = await fetching(at("a b.json"), { headers: { range: "bytes=7-" } });
    expect([rest.status, rest.headers.get("content-range"), await rest.text()]).toEqual([206, "bytes 7-9/10", "789"]);
    expect((await fetching(at("a b.json"), { headers: { range: "bytes=11-" } })).status).toBe(416);
  });

  it("answers for what is no file, and leaves other addresses alone", async () => {
    expect((await fetching(at("none"))).status).toBe(404);
    expect((await fetching(pathToFileURL(folder).href)).status).toBe(404);
    expect(await (await fetching("https://page.test/")).text()).toBe("from the network");
    await expect(fetching(at("a b.json"), { signal: AbortSignal.abort() })).rejects.toThrow();
  });
});

describe("nodePlatform", () => {
  it("takes paths of files for addresses", () => {
    const { absoluteUrl } = nodePlatform;
    expect(absoluteUrl("https://a.test/x?y")).toBe("https://a.test/x?y");
    expect(absoluteUrl(join(folder, "a b.json"))).toBe(at("a b.json"));
    expect(absoluteUrl("models/tiny/")).toBe(`${pathToFileURL(process.cwd()).href}/models/tiny`);
  });
});
