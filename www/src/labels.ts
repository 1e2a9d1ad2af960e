/**
 * Labels, or answers, as people type them: one a line or with commas, without blanks and repetitions, in the order typed.
 */
export function parseList(text: string): string[] {
  const items = text.split(/[\n,;]/).map((item) => item.trim().replace(/\s+/g, " "));
  return [...new Set(items.filter((item) => item !== ""))];
}

/** What is wrong with a prompt template, or `undefined` when nothing is. */
export function templateProblem(template: string): string | undefined {
  return template.includes("{}")
    ? undefined
    : "The template needs {} where the label goes, as in: a photo of a {}";
}
