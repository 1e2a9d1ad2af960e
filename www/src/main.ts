import { byId } from "./dom";
import { Engine } from "./engine";
import { showEncodeTime, showEngine } from "./engine-view";
import { showExamples, things, type Topic } from "./examples";
import { showPicture } from "./frame";
import { watchImageInput, type PictureSink } from "./image-input";
import { isFatal, messageOf } from "./problem";
import { release, type Picture } from "./picture";
import { showSnippet } from "./snippet-view";
import { Store } from "./store";
import { answerTask, suggestQuestions } from "./tasks/answer";
import { captionTask } from "./tasks/caption";
import { classifyTask } from "./tasks/classify";
import type { App } from "./tasks/task";
import { readUrl } from "./url-state";
import { watchWebcam } from "./webcam";

const engine = new Engine(readUrl(location.href));
const picture = new Store<Picture | undefined>(undefined);
const code = showSnippet(engine, picture);
const app: App = { engine, picture, record: code.record };

const answer = answerTask(app);
const tasks = [classifyTask(app), captionTask(app), answer];
const autoRun = byId("auto-run", HTMLInputElement);

/** Asks everything, in the order of the page; the model's own queue keeps that order. */
async function askAll(): Promise<void> {
  if (!autoRun.checked) return;
  const start = performance.now();
  await Promise.all(tasks.map((task) => task.run()));
  // Where three answers took long, an extra look at the picture is not worth the wait.
  if (performance.now() - start < 3000) await measureEncoding();
}

async function measureEncoding(): Promise<void> {
  const { model } = engine;
  const image = picture.get()?.blob;
  if (model === undefined || image === undefined) return;
  const start = performance.now();
  try {
    await model.embedImage(image);
    if (engine.model === model) showEncodeTime(performance.now() - start);
  } catch (error) {
    if (isFatal(error)) engine.lose(model, error);
  }
}

const problem = byId("picture-problem", HTMLParagraphElement);
let latest = 0;
const sink: PictureSink = {
  offer(load) {
    const mine = ++latest;
    load().then(
      (next) => {
        if (mine !== latest) return release(next);
        problem.hidden = true;
        const previous = picture.get();
        for (const task of tasks) task.clear();
        code.forget();
        picture.set(next);
        release(previous);
        void askAll();
      },
      (error: unknown) => {
        if (mine === latest) sink.refuse(messageOf(error));
      },
    );
  },
  refuse(message) {
    problem.textContent = message;
    problem.hidden = false;
  },
};

/** Fills the tasks with what fits an example; what the visitor wrote stays. */
const suggest = ((): ((topic: Topic) => void) => {
  const boxes = [
    { box: byId("labels", HTMLTextAreaElement), text: (topic: Topic) => topic.labels.join(", ") },
    { box: byId("question", HTMLInputElement), text: (topic: Topic) => topic.questions[0] ?? "" },
  ];
  const own = new Set<HTMLElement>();
  for (const { box } of boxes) box.addEventListener("input", () => own.add(box));
  return (topic) => {
    for (const { box, text } of boxes) if (!own.has(box)) box.value = text(topic);
    suggestQuestions(topic.questions, answer);
  };
})();

showEngine(engine);
showPicture(picture, engine);
showExamples(sink, suggest);
watchImageInput(sink);
watchWebcam(sink);
suggest(things);

// A picture that was chosen while the model was loading is asked about as soon as it is there.
let ready = false;
engine.state.watch(({ phase }) => {
  if (phase === "ready" && !ready) void askAll();
  if (phase !== "ready" && ready) for (const task of tasks) task.stop();
  ready = phase === "ready";
});
void engine.start();
