import { byId } from "./dom";
import { CollectionView } from "./collection/collection-view";
import { Engine, isOwn, type Wanted } from "./engine/engine";
import { showEngine } from "./engine/engine-view";
import { showKeptModels } from "./engine/kept-models";
import { measure, Measurements } from "./engine/measurements";
import { showMeasurements } from "./engine/measurements-view";
import { isFatal, messageOf } from "./engine/problem";
import { LiveView } from "./live/live-view";
import { exampleBlob, showExamples, things, type Topic } from "./picture/examples";
import { showPicture } from "./picture/frame";
import { HeatMap } from "./picture/heat-map";
import { watchImageInput, type PictureSink } from "./picture/image-input";
import { release, type Picture } from "./picture/picture";
import { watchWebcam } from "./picture/webcam";
import { Address } from "./shell/address";
import { watchInstall } from "./shell/install";
import { watchOffline } from "./shell/offline";
import { showSnippet } from "./shell/snippet-view";
import { watchViews } from "./shell/views";
import { Store } from "./store";
import { AnswerTask } from "./tasks/answer";
import { captionTask } from "./tasks/caption";
import { classifyTask } from "./tasks/classify";
import type { App } from "./tasks/task";

const address = new Address();
const { model: linked, device, picture: linkedPicture } = address.state;
const wanted: Wanted = linked === undefined ? { device } : { model: linked, device };
const engine = new Engine(wanted);
const picture = new Store<Picture | undefined>(undefined);
const open = watchViews(address);
const measurements = new Measurements();
const heat = new HeatMap(byId("picture", HTMLImageElement), byId("heat", HTMLCanvasElement));
const code = showSnippet(engine, picture, open);
const app: App = { engine, picture, open, heat, measurements, record: code.record };

const answer = new AnswerTask(app, address);
const tasks = [classifyTask(app, address), captionTask(app, address), answer.task];
const autoRun = byId("auto-run", HTMLInputElement);

/** Asks everything, in the order of the page; the model's own queue keeps that order. */
async function askAll(): Promise<void> {
  if (!autoRun.checked) return;
  const start = performance.now();
  await Promise.all(tasks.map((task) => task.run({ unasked: true })));
  // Where three answers took long, more looks at the picture are not worth the wait.
  if (performance.now() - start < 2000) await measureOnce();
}

const measured = new WeakSet<object>();

async function measureOnce(): Promise<void> {
  const { model } = engine;
  const image = picture.get()?.blob;
  if (model === undefined || image === undefined || measured.has(model)) return;
  measured.add(model);
  try {
    measurements.note(model.info, await measure(model, image));
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
        heat.hide();
        code.forget();
        const example = /^"examples\/(.+)"$/.exec(next.code)?.[1];
        address.change({ picture: example });
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
    open.set("picture");
  },
};

/** Fills the tasks with what fits an example; what the visitor wrote stays. */
function suggest(topic: Topic): void {
  address.suggest(byId("labels", HTMLTextAreaElement), topic.labels.join(", "));
  address.suggest(byId("question", HTMLInputElement), topic.questions[0] ?? "");
  answer.suggest(topic.questions);
}

const offline = watchOffline();
watchInstall();
const load = showEngine(engine, address);
showMeasurements(measurements, engine, async () => picture.get()?.blob ?? exampleBlob());
showKeptModels(engine, load);
showPicture(picture, engine);
const examples = showExamples(sink, suggest);
const live = new LiveView(app, address, sink);
const collection = new CollectionView(app, address, sink);
watchImageInput(sink, {
  collecting: () => open.get() === "search",
  collect: (files) => {
    open.set("search");
    collection.collect(files.map((file) => ({ file, name: file.name })));
  },
  play: (video) => live.play(video),
});
watchWebcam(sink);
suggest(things);
if (linkedPicture !== undefined) examples.take(linkedPicture);

// A picture that was chosen while the model was loading is asked about as soon as it is there. While the device comes
// back, the package keeps the questions that are under way.
let ready = false;
engine.state.watch(({ phase }) => {
  if (phase === "recovering") return;
  if (phase === "ready" && !ready) {
    void askAll();
    if (isOwn(engine.wanted)) offline.keepModel();
  }
  if (phase !== "ready" && ready) for (const task of tasks) task.stop();
  ready = phase === "ready";
});
void engine.start();
