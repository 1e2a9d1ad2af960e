import { bars } from "../bars";
import { byId, make } from "../dom";
import { parseList } from "../labels";
import { InputError, notes, Task, type App } from "./task";
import { Writing, writingNotes } from "./writing";

/** “Ask about it”: a short answer, free or one of the given ones. */
export function answerTask(app: App): Task {
  const questionBox = byId("question", HTMLInputElement);
  const choiceBox = byId("choices", HTMLInputElement);
  return new Task("answer", app, async ({ model, image, signal, show }) => {
    const question = questionBox.value.trim();
    const choices = parseList(choiceBox.value);
    if (question === "") throw new InputError("Please write a question, or take one of those below the box");
    if (choices.length === 1) throw new InputError("Please give two answers to choose from, or none");
    const writing = new Writing();
    show(writing.element);

    const options = choices.length > 0 ? { choices, signal } : { onToken: writing.add, signal };
    const answer = await model.answer(image, question, options);

    writing.finish(answer.answer);
    const scores = (answer.choices ?? []).map(({ answer: name, score }) => ({ name, score }));
    show(
      writing.element,
      ...(scores.length > 0 ? [bars(scores, "Answers, the best first")] : []),
      notes(...writingNotes(answer.timings, answer.logProb)),
    );
    app.record({ answer: { question, choices } });
    return `Answer: ${answer.answer}`;
  });
}

/** Offers questions; a click asks one at once. */
export function suggestQuestions(questions: readonly string[], task: Task): void {
  const box = byId("question", HTMLInputElement);
  byId("suggestions", HTMLDivElement).replaceChildren(
    ...questions.map((question) => {
      const chip = make("button", { type: "button", className: "chip" }, question);
      chip.addEventListener("click", () => {
        box.value = question;
        void task.run();
      });
      return chip;
    }),
  );
}
