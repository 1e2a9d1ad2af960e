import { bars } from "../bars";
import { make } from "../dom";
import { notes } from "./task";
import { Writing } from "./writing";

/** What was asked about a picture and answered, the latest last. */
export class Talk {
  readonly element = make("ol", { className: "talk" });

  /** Whether this was asked before. */
  asked(question: string): boolean {
    return [...this.element.querySelectorAll(".asked")].some(({ textContent }) => textContent === question);
  }

  /** Begins a turn; its answer is written where `writing` is. */
  ask(question: string): Turn {
    const turn = new Turn(question);
    this.element.append(turn.element);
    return turn;
  }
}

/** One question and its answer. */
export class Turn {
  readonly writing = new Writing();
  readonly element: HTMLLIElement;

  constructor(question: string) {
    this.element = make("li", {}, make("p", { className: "asked" }, question), this.writing.element);
  }

  finish(answer: string, scores: readonly { name: string; score: number }[], small: readonly string[]): void {
    this.writing.finish(answer);
    if (scores.length > 0) this.element.append(bars(scores, "Answers, the best first"));
    this.element.append(notes(...small));
  }

  /** It was stopped, or failed: what was written stays. */
  end(why: Node): void {
    this.writing.stop();
    if (this.writing.element.textContent === "") this.writing.element.remove();
    this.element.append(why);
  }
}
