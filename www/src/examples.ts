import { byId, make } from "./dom";
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

/** Shows the examples as buttons. `suggest` fills the tasks before the picture arrives. */
export function showExamples(sink: PictureSink, suggest: (topic: Topic) => void): void {
  const base = new URL("examples/", document.baseURI);
  byId("examples", HTMLUListElement).append(
    ...examples.map(({ file, name, topic }) => {
      const picture = make("img", { src: new URL(file, base).href, alt: "", width: 64, height: 64 });
      const button = make("button", { type: "button", title: name, ariaLabel: name }, picture);
      button.addEventListener("click", () => {
        suggest(topic);
        sink.offer(async () => {
          const response = await fetch(new URL(file, base)).catch(() => undefined);
          if (!response?.ok) throw new PictureError("The example could not be loaded. Are you offline?");
          return readPicture(await response.blob(), name, JSON.stringify(`examples/${file}`));
        });
      });
      return make("li", {}, button);
    }),
  );
}
