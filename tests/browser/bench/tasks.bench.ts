// How long loading and each task take on the shipped model; the first call of each task, then the median of the rest.
import { test } from "../support/test";

test("times", async ({ user, device }) => {
  const calls = Number(process.env["COCA_CALLS"] ?? 5);
  const { info, times } = await user.page.evaluate(async (calls) => {
    const { model } = window;
    const image = await (await fetch("pictures/nagasaki-boats.jpg")).blob();
    const labels = ["a cat", "a boat", "a plant", "a red circle", "an aeroplane"];
    const tasks: Record<string, () => Promise<unknown>> = {
      classify: () => model.classify(image, labels),
      caption: () => model.caption(image, { maxTokens: 16 }),
      answer: () => model.answer(image, "what is in the image?"),
      "embed image": () => model.embedImage(image),
    };
    const times: { task: string; first: number; median: number }[] = [];
    for (const [task, call] of Object.entries(tasks)) {
      const taken: number[] = [];
      for (let count = 0; count <= calls; count += 1) {
        const start = performance.now();
        await call();
        taken.push(performance.now() - start);
      }
      const [first = NaN, ...rest] = taken;
      rest.sort((a, b) => a - b);
      times.push({ task, first, median: rest[Math.floor(rest.length / 2)] ?? NaN });
    }
    return { info: model.info, times };
  }, calls);

  const adapter = info.adapter === undefined ? "" : `, ${info.adapter.vendor} ${info.adapter.architecture}`;
  const { totalMs, runtimeMs, uploadMs, selfTestMs } = info.timings;
  const ms = (value: number): string => `${value.toFixed(1)} ms`;
  const lines = [
    `${device}${adapter}: ${info.name}, ${info.parameters} parameters, ${info.dtype}`,
    `load ${ms(totalMs)}: runtime ${ms(runtimeMs)}, weights ${ms(uploadMs)}, self-test ${ms(selfTestMs)}`,
    ...times.map(({ task, first, median }) => `${task}: first ${ms(first)}, then ${ms(median)} (median of ${calls})`),
  ];
  console.log(`\n${lines.join("\n  ")}`);
});
