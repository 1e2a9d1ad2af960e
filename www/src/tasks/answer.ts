import { announce, byId, make } from "../dom";
import { isAborted, isFatal, messageOf } from "../engine/problem";
import { parseList } from "../labels";
import type { Address } from "../shell/address";
import { InputError, notes, Task, type App } from "./task";
import { Talk } from "./talk";
import { writingNotes } from "./writing";
import { sentence } from "../sentence";

/** “Ask about it”: short answers, free or one of the given ones; the questions about one picture stay together. */
export class AnswerTask {
  readonly task: Task;
  readonly #box = byId("question", HTMLInputElement);
  #talk = new Talk();
  #questions: readonly string[] = [];

  constructor(app: App, address: Address) {
    const choiceBox = byId("choices", HTMLInputElement);
    const clear = byId("answer-clear", HTMLButtonElement);
    address.keep("question", this.#box);
    address.keep("choices", choiceBox);

    this.task = new Task("answer", app, async ({ model, image, signal, show, unasked }) => {
      const question = this.#box.value.trim() || (unasked ? (this.#questions[0] ?? "") : "");
      const choices = parseList(choiceBox.value);
      const talk = this.#talk;
      try {
        check(question, choices);
      } catch (error) {
        show(talk.element, make("p", { className: "problem" }, sentence(messageOf(error))));
        return sentence(messageOf(error));
      }
      const turn = talk.ask(question);
      show(talk.element);
      clear.hidden = false;
      this.#suggest();
      scrollTo(turn.element);

      const options = choices.length > 0 ? { choices, signal } : { onToken: turn.writing.add, signal };
      try {
        const answer = await model.answer(image, question, options);
        const scores = (answer.choices ?? []).map(({ answer: name, score }) => ({ name, score }));
        turn.finish(answer.answer, scores, writingNotes(answer.timings, answer.logProb));
        // The next question is written into an empty box, as in any conversation.
        if (!unasked && this.#box.value.trim() === question) this.#box.value = "";
        app.record({ answer: { question, choices } });
        return `Answer: ${answer.answer}`;
      } catch (error) {
        if (isFatal(error)) throw error;
        turn.end(
          isAborted(error)
            ? notes("stopped")
            : make("p", { className: "problem" }, sentence(messageOf(error))),
        );
        if (!isAborted(error)) announce(sentence(messageOf(error)));
        return "";
      } finally {
        scrollTo(turn.element);
      }
    });

    app.picture.watch(() => this.#forget());
    clear.addEventListener("click", () => {
      this.task.clear();
      this.#forget();
      this.#box.focus();
    });
  }

  /** Offers questions; a click asks one at once. */
  suggest(questions: readonly string[]): void {
    this.#questions = questions;
    this.#suggest();
  }

  #forget(): void {
    this.#talk = new Talk();
    byId("answer-clear", HTMLButtonElement).hidden = true;
    this.#suggest();
  }

  #suggest(): void {
    const chips = this.#questions
      .filter((question) => !this.#talk.asked(question))
      .map((question) => {
        const chip = make("button", { type: "button", className: "chip" }, question);
        chip.addEventListener("click", () => {
          this.#box.value = question;
          void this.task.run();
          // The chip is gone: the keyboard goes on where the next question is written.
          this.#box.focus({ preventScroll: true });
        });
        return chip;
      });
    byId("suggestions", HTMLDivElement).replaceChildren(...chips);
  }
}

function check(question: string, choices: readonly string[]): void {
  if (question === "") throw new InputError("Please write a question, or take one of those below the box");
  if (choices.length === 1) throw new InputError("Please give two answers to choose from, or none");
}

/** Within the list only: the page stays where it is. */
function scrollTo(turn: HTMLElement): void {
  const list = byId("answer-result", HTMLDivElement);
  list.scrollTop = turn.offsetTop - list.offsetTop;
}
