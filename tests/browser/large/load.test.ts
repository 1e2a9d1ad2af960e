// Models of the published sizes, with random weights, load and answer on the CPU, within the memory of a tab.
import { readdirSync } from "node:fs";
import { policy } from "../support/global-setup";
import { ModelServer } from "../support/model-server";
import { answerFrom } from "../support/static-server";
import { expect, openUserPage, test } from "../support/test";

/** Holds `models/NAME/` for each model. */
const folder = process.env["COCA_LARGE"] ?? ".";
const MB = 1e6;

for (const name of readdirSync(`${folder}/models`)) {
  test(`${name} loads, answers, and loads again without its server`, async ({ browser }) => {
    const site = process.env["COCA_TEST_SITE"] ?? "";
    const server = new ModelServer(folder, answerFrom([site], policy));
    const user = await openUserPage(browser, await server.start());
    const load = (): Promise<{ info: { parameters: number; timings: object }; memory: number; cosine: number; caption: string }> =>
      user.page.evaluate(async (name) => {
        let memory = 0;
        const model = await window.coca.CoCa.load(`models/${name}/`, {
          device: "cpu",
          logger: { debug: (message) => (memory = Number(/has (\d+) bytes/.exec(message)?.[1] ?? memory)) },
        });
        const image = await model.embedImage("pictures/red-circle.png");
        const [text] = await model.embedText(["a red circle"]);
        const cosine = image.reduce((sum, value, at) => sum + value * (text?.[at] ?? NaN), 0);
        const { caption } = await model.caption("pictures/red-circle.png", { maxTokens: 4 });
        const { info } = model;
        await model.dispose();
        return { info, memory, cosine, caption };
      }, name);
    const first = await load();
    // The matrices stay in eight bits, with a scale of 32 bits for each 32 of them, or 16 where the file has four bits.
    const model = first.info.parameters * (name.endsWith("q4") ? 1.25 : 1.125);
    const beyond = (first.memory - model) / MB;
    console.log(`${name}: ${(first.memory / MB).toFixed(0)} MB of memory, ${beyond.toFixed(0)} MB beyond the weights`, first.info.timings);
    expect(Math.abs(first.cosine)).toBeLessThanOrEqual(1.001);
    // The largest shard, and 64 MB.
    expect(beyond).toBeLessThan(128);
    server.down = true;
    const second = await load();
    console.log(`${name}, from the cache:`, second.info.timings);
    expect(second.cosine).toBe(first.cosine);
    expect(second.caption).toBe(first.caption);
    await user.page.context().close();
    server.stop();
  });
}
