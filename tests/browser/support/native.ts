import { execFileSync } from "node:child_process";
import { basename, join } from "node:path";
import { environment } from "./environment";
import { pictures } from "./pictures";

/** What the native command says about the test pictures, by picture; the formats are those of `--json`. */
export interface Classified {
  labels: { label: string; score: number }[];
}
export interface Captioned {
  caption: string;
  tokens: number[];
  log_prob: number;
}
export interface Answered {
  answer: string;
  log_prob: number;
  choices?: { answer: string; score: number }[];
}
export interface Embedded {
  embedding: number[];
}

export interface Explained {
  text: string;
  log_prob: number;
  columns: number;
  rows: number;
  region: { x: number; y: number; width: number; height: number };
  words: { text: string; heat: number[] }[];
}

/** Asks the native command about one test picture. */
export function nativeOne<Line>(task: string, picture: string, ...options: string[]): Line {
  const [line] = run<Line>(task, [...options, join(folderOfPictures(), picture)]);
  if (line === undefined) throw new Error(`coca-train ${task} printed nothing`);
  return line;
}

/** Asks the native command about every test picture. */
export function native<Line>(task: string, ...options: string[]): Map<string, Line> {
  const folder = folderOfPictures();
  const lines = run<Line & { image: string }>(task, [...options, ...pictures.map((name) => join(folder, name))]);
  return new Map(lines.map((line) => [basename(line.image), line]));
}

/** The native command's text embeddings. */
export function nativeTexts(texts: readonly string[]): number[][] {
  return run<Embedded>("embed", texts.flatMap((text) => ["--text", text])).map((line) => line.embedding);
}

function folderOfPictures(): string {
  const folder = process.env["COCA_TEST_PICTURES"];
  if (folder === undefined) throw new Error("the set-up has not run");
  return folder;
}

function run<Line>(task: string, options: string[]): Line[] {
  const output = execFileSync(environment.cocaTrain(), [task, "--model", environment.model(), "--json", ...options], {
    encoding: "utf8",
    maxBuffer: 1 << 28,
    stdio: ["ignore", "pipe", "inherit"],
  });
  return output
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Line);
}
