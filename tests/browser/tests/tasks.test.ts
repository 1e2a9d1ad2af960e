// Each task in the browser gives what the native command gives: the same labels and texts, numbers within 1e-3.
import { native, nativeOne, nativeTexts, type Answered, type Captioned, type Classified, type Embedded, type Explained } from "../support/native";
import { pictures } from "../support/pictures";
import { expect, expectClose, test, type Device } from "../support/test";

const tolerance = 1e-3;
/** Sums over the tokens of a text. */
const sumTolerance = 1e-2;
const labels = ["a cat", "a boat", "a plant", "a red circle", "an aeroplane"];

/** A software GPU takes seconds for what the CPU does in milliseconds: it is asked about one picture, and briefly. */
const chosen = (device: Device): string[] => (device === "webgpu" ? ["nagasaki-boats.jpg"] : pictures);
const brief = (device: Device): number => (device === "webgpu" ? 6 : 24);

test("the model says where it runs and passed its self-test", async ({ user, device }) => {
  const info = await user.page.evaluate(() => window.model.info);
  expect(info.device).toBe(device);
  expect(info.reason).not.toBe("");
  expect(info.parameters).toBeGreaterThan(100_000);
  expect(info.verified).toBe(true);
  expect(info.selfTestError).toBeLessThan(tolerance);
  expect(info.adapter === undefined).toBe(device === "cpu");
});

test("classify", async ({ user, device }) => {
  const templates = [undefined, "a photo of {}, in black and white"];
  for (const template of device === "webgpu" ? templates.slice(0, 1) : templates) {
    const options = template === undefined ? [] : ["--template", template];
    const expected = native<Classified>("classify", "--labels", labels.join(","), ...options);
    for (const picture of chosen(device)) {
      const actual = await user.page.evaluate(
        ([picture, labels, template]) =>
          window.model.classify(`pictures/${picture}`, labels, template === undefined ? {} : { template }),
        [picture, labels, template] as const,
      );
      const wanted = expected.get(picture)?.labels ?? [];
      expect(actual.map(({ label }) => label), picture).toEqual(wanted.map(({ label }) => label));
      expectClose(actual.map(({ score }) => score), wanted.map(({ score }) => score), tolerance);
      expect(actual.reduce((sum, { score }) => sum + score, 0)).toBeCloseTo(1, 4);
    }
  }
});

test("a classifier gives what classify gives", async ({ user }) => {
  const [kept, single] = await user.page.evaluate(async (labels) => {
    const image = "pictures/nagasaki-boats.jpg";
    const classifier = await window.model.classifier(labels);
    return [await classifier.classify(image), await window.model.classify(image, labels)] as const;
  }, labels);
  expect(kept.map(({ label }) => label)).toEqual(single.map(({ label }) => label));
  expectClose(kept.map(({ score }) => score), single.map(({ score }) => score), 1e-5);
});

test("caption", async ({ user, device }) => {
  const maxTokens = brief(device);
  const expected = native<Captioned>("caption", "--max-tokens", String(maxTokens));
  for (const picture of chosen(device)) {
    const actual = await user.page.evaluate(
      ([picture, maxTokens]) => window.model.caption(`pictures/${picture}`, { maxTokens }),
      [picture, maxTokens] as const,
    );
    const wanted = expected.get(picture);
    expect(actual.caption, picture).toBe(wanted?.caption);
    expect(actual.tokens, picture).toEqual(wanted?.tokens);
    expectClose([actual.logProb], [wanted?.log_prob ?? NaN], sumTolerance);
    expect(actual.timings.totalMs).toBeGreaterThan(0);
  }
});

test("caption with a prefix, with beams, and sampled", async ({ user }) => {
  const ways = [
    { options: { prefix: "a picture of", maxTokens: 8 }, native: ["--prefix", "a picture of", "--max-tokens", "8"] },
    { options: { beams: 4, maxTokens: 8 }, native: ["--beams", "4", "--max-tokens", "8"] },
    { options: { topK: 20, topP: 0.9, seed: 7, maxTokens: 8 }, native: ["--top-k", "20", "--top-p", "0.9", "--seed", "7", "--max-tokens", "8"] },
  ];
  for (const way of ways) {
    const expected = native<Captioned>("caption", ...way.native);
    for (const picture of pictures) {
      const actual = await user.page.evaluate(
        ([picture, options]) => window.model.caption(`pictures/${picture}`, options),
        [picture, way.options] as const,
      );
      expect(actual.caption, `${picture} ${way.native.join(" ")}`).toBe(expected.get(picture)?.caption);
    }
  }
});

test("a streamed caption is the caption, in pieces", async ({ user, device }) => {
  const { pieces, whole } = await user.page.evaluate(async (maxTokens) => {
    const [image, pieces]: [string, string[]] = ["pictures/see-through.png", []];
    for await (const piece of window.model.captionStream(image, { maxTokens })) pieces.push(piece);
    return { pieces, whole: (await window.model.caption(image, { maxTokens })).caption };
  }, brief(device));
  expect(pieces.join("").trim()).toBe(whole.trim());
});

test("answer", async ({ user, device }) => {
  const question = "what shape is in the image?";
  const choices = ["circle", "rectangle", "boat"];
  const free = native<Answered>("answer", "--question", question);
  const chosenFrom = native<Answered>("answer", "--question", question, "--choices", choices.join(","));
  for (const picture of chosen(device)) {
    const [open, closed] = await user.page.evaluate(
      async ([picture, question, choices]) =>
        [
          await window.model.answer(`pictures/${picture}`, question),
          await window.model.answer(`pictures/${picture}`, question, { choices }),
        ] as const,
      [picture, question, choices] as const,
    );
    expect(open.answer, picture).toBe(free.get(picture)?.answer);
    expectClose([open.logProb], [free.get(picture)?.log_prob ?? NaN], sumTolerance);
    const wanted = chosenFrom.get(picture);
    expect(closed.answer, picture).toBe(wanted?.answer);
    expect(closed.choices?.map(({ answer }) => answer), picture).toEqual(wanted?.choices?.map(({ answer }) => answer));
    expectClose(closed.choices?.map(({ score }) => score) ?? [], wanted?.choices?.map(({ score }) => score) ?? [NaN], tolerance);
  }
});

test("embeddings", async ({ user, device }) => {
  const expected = native<Embedded>("embed");
  for (const picture of chosen(device)) {
    const actual = await user.page.evaluate(async (picture) => [...(await window.model.embedImage(`pictures/${picture}`))], picture);
    expectClose(actual, expected.get(picture)?.embedding ?? [], tolerance);
    expectClose([Math.hypot(...actual)], [1], 1e-5);
  }
  const texts = device === "webgpu" ? labels.slice(0, 2) : [...labels, "Ein süßes Kätzchen 🐈", "?"];
  const wanted = nativeTexts(texts);
  const actual = await user.page.evaluate(async (texts) => (await window.model.embedText(texts)).map((it) => [...it]), texts);
  expect(actual.length).toBe(texts.length);
  actual.forEach((embedding, at) => expectClose(embedding, wanted[at] ?? [], tolerance));
});

test("explain", async ({ user, device }) => {
  for (const picture of chosen(device)) {
    // With a given text on the slow device, which is one forward pass; its own caption is a step for each token.
    const texts = device === "webgpu" ? ["boats on the water"] : [undefined, "a red circle"];
    for (const text of texts) {
      const wanted = nativeOne<Explained>("explain", picture, ...(text === undefined ? [] : ["--text", text]));
      const actual = await user.page.evaluate(
        async ([picture, text]) => {
          const explanation = await window.model.explain(`pictures/${picture}`, text);
          return { ...explanation, words: explanation.words.map(({ text, heat }) => ({ text, heat: [...heat] })) };
        },
        [picture, text] as const,
      );
      expect(actual.text, picture).toBe(wanted.text);
      expect([actual.columns, actual.rows]).toEqual([wanted.columns, wanted.rows]);
      expect(actual.region).toEqual(wanted.region);
      expectClose([actual.logProb], [wanted.log_prob], sumTolerance);
      expect(actual.words.map(({ text }) => text)).toEqual(wanted.words.map(({ text }) => text));
      actual.words.forEach(({ heat }, at) => {
        expectClose(heat, wanted.words[at]?.heat ?? [], tolerance);
        expectClose([heat.reduce((sum, share) => sum + share, 0)], [1], 1e-5);
      });
    }
  }
});

test("similarity is the cosine of the embeddings, and an index finds by it", async ({ user, device }) => {
  const images = device === "webgpu" ? ["nagasaki-boats.jpg"] : pictures;
  const expected = native<Embedded>("embed");
  const [text = []] = nativeTexts(["a boat on the water"]);
  const { rows, hits, again } = await user.page.evaluate(async (names) => {
    const rows = await window.model.similarity(names.map((name) => `pictures/${name}`), ["a boat on the water"]);
    const index = window.model.imageIndex();
    for (const name of names) await index.add(`pictures/${name}`, { id: name });
    const hits = await index.search("a boat on the water");
    const again = await window.model.imageIndex(index.export()).search("a boat on the water");
    return { rows: rows.map((row) => [...row]), hits, again };
  }, images);
  const cosines = images.map((name) => expected.get(name)?.embedding.reduce((sum, value, at) => sum + value * (text[at] ?? NaN), 0) ?? NaN);
  expectClose(rows.flat(), cosines, tolerance);
  const best = images.toSorted((a, b) => (cosines[images.indexOf(b)] ?? 0) - (cosines[images.indexOf(a)] ?? 0));
  expect(hits.map(({ id }) => id)).toEqual(best);
  expectClose(hits.map(({ score }) => score), best.map((name) => cosines[images.indexOf(name)] ?? NaN), tolerance);
  expect(again).toEqual(hits);
});

test("a call stops when its signal is aborted, and the next one is served", async ({ user }) => {
  const outcome = await user.page.evaluate(async () => {
    const stop = new AbortController();
    let pieces = 0;
    const stopped = await window.model
      .caption("pictures/see-through.png", {
        signal: stop.signal,
        onToken: () => {
          pieces += 1;
          stop.abort(new Error("seen enough"));
        },
      })
      .then(
        () => "finished",
        (error: unknown) =>
          error instanceof window.coca.CocaError ? `${error.code}: ${(error.cause as Error).message}` : String(error),
      );
    const next = await window.model.classify("pictures/see-through.png", ["a cat", "a dog"]);
    return { stopped, pieces, next: next.length };
  });
  expect(outcome.stopped).toBe("aborted: seen enough");
  expect(outcome.pieces).toBe(1);
  expect(outcome.next).toBe(2);
});

test("nothing is asked of the network but the page's own files and the named pictures", async ({ user }) => {
  const own = new URL(user.page.url()).origin;
  const foreign = user.requests.filter((address) => new URL(address).origin !== own && !address.startsWith("data:"));
  expect(foreign).toEqual([]);
  const paths = user.requests.map((address) => new URL(address).pathname);
  // Other tests of this page load models of their own, each with the same wasm.
  expect(new Set(paths.filter((path) => path.endsWith(".wasm"))).size).toBe(1);
});
