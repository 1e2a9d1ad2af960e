import { byId, make } from "../dom";
import type { PictureSink } from "./image-input";
import { PictureError, readPicture } from "./picture";

/** A picture that ships with the page, with what is worth asking about it. */
interface Example {
  file: string;
  name: string;
  topic: Topic;
}

/** What the tasks are filled with when an example is chosen. */
export interface Topic {
  labels: readonly string[];
  questions: readonly string[];
}

/** Emoji and objects, which the small model knows by name. */
export const things: Topic = {
  labels: ["cat face", "dog face", "elephant", "pizza", "bicycle", "sunflower"],
  questions: ["what color is the shape?", "is there a yellow shape?", "what shape is present?"],
};

/** Shapes and colours, which the small model was taught to answer questions about. */
const shapes: Topic = {
  labels: ["red circle", "blue rectangle", "green triangle", "yellow circle", "black triangle"],
  questions: ["what shape is in the image?", "what color is the shape?", "is there a red circle?"],
};

const examples: readonly Example[] = [
  { file: "cat.png", name: "Cat face emoji", topic: things },
  { file: "elephant.png", name: "Elephant emoji", topic: things },
  { file: "sunflower.png", name: "Sunflower emoji", topic: things },
  { file: "pizza.png", name: "Pizza emoji", topic: things },
  { file: "bicycle.png", name: "Bicycle emoji", topic: things },
  { file: "red-circle.png", name: "Red circle", topic: shapes },
  { file: "blue-rectangle.png", name: "Blue rectangle", topic: shapes },
  { file: "green-triangle.png", name: "Green triangle", topic: shapes },
];

/** Shows the examples as buttons. `choose` is told which one was taken before the picture arrives. */
export function showExamples(
  sink: PictureSink,
  choose: (topic: Topic, file: string) => void,
): { take(file: string): void } {
  const take = ({ file, name, topic }: Example): void => {
    choose(topic, file);
    sink.offer(async () => readPicture(await exampleBlob(file), name, JSON.stringify(`examples/${file}`)));
  };
  byId("examples", HTMLUListElement).append(
    ...examples.map((example) => {
      const { file, name } = example;
      const picture = make("img", { src: addressOf(file), alt: "", width: 64, height: 64 });
      const button = make("button", { type: "button", title: name, ariaLabel: name }, picture);
      button.addEventListener("click", () => take(example));
      return make("li", {}, button);
    }),
  );
  return {
    take: (file) => {
      const example = examples.find((one) => one.file === file);
      if (example) take(example);
    },
  };
}

/** All examples, for the collection. */
export function examplePictures(): Promise<{ file: Blob; name: string }[]> {
  return Promise.all(examples.map(async ({ file, name }) => ({ file: await exampleBlob(file), name })));
}

/** The pixels of one of the examples. */
export async function exampleBlob(file = "cat.png"): Promise<Blob> {
  const response = await fetch(addressOf(file)).catch(() => undefined);
  if (!response?.ok) throw new PictureError("The example could not be loaded. Are you offline?");
  return response.blob();
}

function addressOf(file: string): string {
  return new URL(`examples/${file}`, document.baseURI).href;
}
