import type { ClassifierClassifyOptions, ImageInput, LabelScore } from "./types.js";

/** What a classifier needs of its model. */
export interface ClassifierOwner {
  classify(images: ImageInput | readonly ImageInput[], options: ClassifierClassifyOptions): Promise<LabelScore[] | LabelScore[][]>;
  dispose(): void;
}

/** A zero-shot classifier: label embeddings, computed once and kept on the device. Made by `CoCa.classifier`. */
export class Classifier {
  /** The labels, as they were given. */
  readonly labels: readonly string[];
  readonly #owner: ClassifierOwner;

  /** @internal */
  constructor(labels: readonly string[], owner: ClassifierOwner) {
    this.labels = labels;
    this.#owner = owner;
  }

  /** Scores the labels for an image, best first. */
  classify(image: ImageInput, options?: ClassifierClassifyOptions): Promise<LabelScore[]>;
  /** Scores the labels for each image. */
  classify(images: readonly ImageInput[], options?: ClassifierClassifyOptions): Promise<LabelScore[][]>;
  classify(
    images: ImageInput | readonly ImageInput[],
    options: ClassifierClassifyOptions = {},
  ): Promise<LabelScore[] | LabelScore[][]> {
    return this.#owner.classify(images, options);
  }

  /** Frees the label embeddings. Calls after it reject with code `disposed`; a second call does nothing. */
  dispose(): void {
    this.#owner.dispose();
  }
}
