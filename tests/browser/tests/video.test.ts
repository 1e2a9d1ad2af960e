// Videos: a file, an element of the page, and frames, each classified by the mean of its frames' embeddings.
import { expect, test } from "../support/test";

const labels = ["a red circle", "a blue square", "a cat"];

test("a video is classified by its frames, wherever it comes from", async ({ user }) => {
  const outcome = await user.page.evaluate(async (labels) => {
    // A red circle on white that moves, for a second.
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [128, 128];
    const context = canvas.getContext("2d");
    if (context === null) throw new Error("no canvas");
    const draw = (at: number): void => {
      context.fillStyle = "white";
      context.fillRect(0, 0, 128, 128);
      context.fillStyle = "rgb(220, 30, 30)";
      context.beginPath();
      context.arc(54 + 20 * at, 64, 40, 0, 7);
      context.fill();
    };
    draw(0);
    const recorder = new MediaRecorder(canvas.captureStream(30), { mimeType: "video/webm" });
    const chunks: Blob[] = [];
    recorder.ondataavailable = ({ data }) => chunks.push(data);
    const stopped = new Promise((resolve) => (recorder.onstop = resolve));
    recorder.start();
    for (let step = 0; step <= 30; step++) {
      draw(step / 30);
      await new Promise((resolve) => setTimeout(resolve, 33));
    }
    recorder.stop();
    await stopped;
    const file = new Blob(chunks, { type: "video/webm" });

    const times: number[] = [];
    const ofFile = await window.model.classifyVideo(file, labels, { frames: 4, onFrame: ({ time }) => times.push(time ?? -1) });
    const element = document.createElement("video");
    element.muted = true;
    element.src = URL.createObjectURL(file);
    await new Promise((resolve) => (element.onloadeddata = resolve));
    const classifier = await window.model.classifier(labels);
    const ofElement = await window.model.classifyVideo(element, classifier, { frames: 4, topK: 2 });
    const left = { time: element.currentTime, paused: element.paused };
    const live = document.createElement("video");
    live.srcObject = canvas.captureStream(30);
    live.muted = true;
    // It begins to play with the first change of the canvas.
    const moving = setInterval(() => draw(Math.random()), 33);
    await live.play();
    clearInterval(moving);
    const code = (error: unknown) => (error as { code?: string }).code ?? String(error);
    const refused = [
      await window.model.classifyVideo(live, labels).catch(code),
      await window.model.classifyVideo(new Blob(["no video"]), labels).catch(code),
      await window.model.classifyVideo(file, labels, { signal: AbortSignal.abort() }).catch(code),
    ];
    const frame = await window.model.classify(canvas, labels);
    const ofFrames = await window.model.classifyVideo([canvas, canvas, canvas], labels);
    return { ofFile, ofElement, left, refused, times, frame, ofFrames };
  }, labels);
  expect(outcome.ofFile[0]?.label).toBe("a red circle");
  expect(outcome.times).toHaveLength(4);
  expect(outcome.times).toEqual(outcome.times.toSorted((a, b) => a - b));
  expect(outcome.ofElement).toHaveLength(2);
  expect(outcome.ofElement[0]?.label).toBe("a red circle");
  expect(outcome.ofElement[0]?.score).toBeCloseTo(outcome.ofFile[0]?.score ?? NaN, 2);
  expect(outcome.left).toEqual({ time: 0, paused: true });
  expect(outcome.refused).toEqual(["invalid-argument", "image-decode", "aborted"]);
  outcome.ofFrames.forEach(({ label, score }, at) => {
    expect(label).toBe(outcome.frame[at]?.label);
    expect(score).toBeCloseTo(outcome.frame[at]?.score ?? NaN, 5);
  });
});
