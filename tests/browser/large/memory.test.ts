// On WebGPU the weights pass through the wasm's memory, which never shrinks: it shows the most that was ever needed.
import { readdirSync, readFileSync, statSync } from "node:fs";
import { policy } from "../support/global-setup";
import { ModelServer } from "../support/model-server";
import { answerFrom } from "../support/static-server";
import { expect, openUserPage, test } from "../support/test";

/** Holds `models/NAME/` for each model. */
const folder = process.env["COCA_LARGE"] ?? ".";
const MB = 1e6;
/** A larger model than this takes a GPU in software too long. */
const name = "coca_ViT-B-32-q8";

test(`${name} is never whole in the memory of the wasm`, async ({ browser }) => {
  const server = new ModelServer(folder, answerFrom([process.env["COCA_TEST_SITE"] ?? ""], policy));
  const path = `${folder}/models/${name}`;
  // Its caption would take a GPU in software minutes.
  const { self_test: _, ...manifest } = JSON.parse(readFileSync(`${path}/coca.json`, "utf8"));
  server.replaced.set(`/models/${name}/coca.json`, Buffer.from(JSON.stringify(manifest)));
  const user = await openUserPage(browser, await server.start());
  const memory = await user.page.evaluate(async (name) => {
    let memory = NaN;
    const model = await window.coca.CoCa.load(`models/${name}/`, {
      device: "webgpu",
      logger: { debug: (message) => (memory = Number(/has (\d+) bytes/.exec(message)?.[1] ?? memory)) },
    });
    await model.dispose();
    return memory;
  }, name);
  const shard = Math.max(...readdirSync(path).map((file) => statSync(`${path}/${file}`).size));
  console.log(`${name} on WebGPU: ${(memory / MB).toFixed(0)} MB of memory; its largest shard has ${(shard / MB).toFixed(0)} MB`);
  expect(memory).toBeLessThan(shard + 64 * MB);
  await user.page.context().close();
  server.stop();
});
