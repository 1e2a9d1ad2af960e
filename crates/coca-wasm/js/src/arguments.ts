/** Checks of arguments, so that a mistake is named in the caller's own words and on the caller's side. */
import { CocaError } from "./error.js";
import type { TemplateOptions } from "./types.js";

/** A non-empty list of non-empty texts. */
export function texts(name: string, value: readonly string[]): readonly string[] {
  if (!Array.isArray(value) || value.length === 0) {
    throw new CocaError("invalid-argument", `${name} must be a list with at least one text`);
  }
  value.forEach((item, index) => text(`${name}[${index}]`, item));
  return value;
}

/** A text with at least one visible character. */
export function text(name: string, value: string): string {
  if (typeof value !== "string" || value.trim() === "") {
    throw new CocaError("invalid-argument", `${name} must be a text that is not empty, not ${JSON.stringify(value)}`);
  }
  return value;
}

/** A whole number of at least `minimum`, or nothing. */
export function whole(name: string, value: number | undefined, minimum: number): number | undefined {
  if (value === undefined || (Number.isSafeInteger(value) && value >= minimum)) return value;
  throw new CocaError("invalid-argument", `${name} must be a whole number of at least ${minimum}, not ${value}`);
}

/** A number above 0 and at most `maximum`, or nothing. */
export function positive(name: string, value: number | undefined, maximum = Number.MAX_VALUE): number | undefined {
  if (value === undefined || (typeof value === "number" && value > 0 && value <= maximum)) return value;
  const range = maximum === Number.MAX_VALUE ? "above 0" : `above 0 and at most ${maximum}`;
  throw new CocaError("invalid-argument", `${name} must be a number ${range}, not ${value}`);
}

/** The prompt templates, or nothing for the model's own. */
export function templates(options: TemplateOptions): readonly string[] | undefined {
  if (options.template !== undefined && options.templates !== undefined) {
    throw new CocaError("invalid-argument", "give template or templates, not both");
  }
  const given = options.templates ?? (options.template === undefined ? undefined : [options.template]);
  if (given === undefined) return undefined;
  for (const template of texts("templates", given)) {
    if (!template.includes("{}")) {
      throw new CocaError("invalid-argument", `the prompt template "${template}" has no {} to put the label in`);
    }
  }
  return given;
}
