/** Fails unless the package loads its model and uses it in Node.js, says nothing, and lets the process end. */
import { spawnSync } from "node:child_process";

const program = `
  import assert from "node:assert/strict";
  import { readFileSync } from "node:fs";
  import { CoCa, CocaError } from "coca-wasm";

  const support = await CoCa.isSupported();
  assert.deepEqual([support.cpu, support.webgpu], [true, false]);
  const model = await CoCa.load();
  assert.equal(model.info.device, "cpu");
  assert(model.info.selfTestError < 1e-3 && model.info.verified);

  const picture = process.argv.at(-1);
  const expected = await model.embedImage(picture);
  for (const image of [readFileSync(picture), new Blob([readFileSync(picture)]), new URL("file://" + encodeURI(picture))]) {
    assert.deepEqual(await model.embedImage(image), expected);
  }
  const labels = await model.classify(picture, ["a cat", "a bicycle"]);
  assert.equal(labels.length, 2);
  const pieces = [];
  for await (const piece of model.captionStream(picture)) pieces.push(piece);
  assert.equal(pieces.join(""), (await model.caption(picture)).caption);
  const explanation = await model.explain(picture);
  assert.equal(explanation.words[0].heat.length, explanation.rows * explanation.columns);

  await assert.rejects(model.caption("no-such.png"), { code: "not-found" });
  await assert.rejects(model.caption("package.json"), { code: "image-decode" });
  await assert.rejects(CoCa.load(undefined, { device: "webgpu" }), { code: "webgpu-unavailable" });
  await assert.rejects(CoCa.load("no-such-folder"), (error) => error instanceof CocaError && error.code === "not-found");
  // Not disposed: an idle model must not keep the process alive.
`;
const picture = new URL("../../../../www/public/examples/cat.png", import.meta.url);
const { status, stdout, stderr } = spawnSync(
  process.execPath,
  // The package by its own name, through its own `exports`.
  ["--input-type=module", "--eval", program, "--", decodeURI(picture.pathname)],
  { cwd: new URL("..", import.meta.url), encoding: "utf8", timeout: 120_000 },
);
if (status !== 0 || stdout + stderr !== "") {
  console.error(`the package does not work in Node.js, or is not silent there:\n${stdout}${stderr}`);
  process.exit(1);
}
