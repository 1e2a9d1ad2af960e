import { bundledModel } from "./bundled.js";
import { CocaError } from "./error.js";
import { absoluteUrl } from "./platform.js";
import type { FolderPayload } from "./protocol.js";
import type { ModelSource } from "./types.js";

/** Makes a model source ready to be sent to the worker. */
export function folderPayload(source: ModelSource | undefined): FolderPayload {
  if (source === undefined) return { kind: "files", files: bundledModel() };
  if (typeof source === "string" || source instanceof URL) return { kind: "address", url: folderAddress(String(source)) };
  const files = Array.isArray(source) ? byName(source) : toBlobs(source as Readonly<Record<string, Blob | Uint8Array<ArrayBuffer>>>);
  if (Object.keys(files).length === 0) {
    throw new CocaError("invalid-argument", "the model source has no files; give the files of a model folder");
  }
  return { kind: "files", files };
}

/** The address of a folder that was given by its address, or as a repository of the Hugging Face hub. */
export function folderAddress(source: string): string {
  return folderUrl(source.startsWith("hf:") ? hubAddress(source.slice(3)) : absoluteUrl(source));
}

/** Where the files of `owner/name` or `owner/name@revision` are. */
function hubAddress(repository: string): string {
  const [, owner, name, revision = "main"] = /^([\w-][\w.-]*)\/([\w-][\w.-]*)(?:@(.+))?$/.exec(repository) ?? [];
  if (owner === undefined || name === undefined) {
    throw new CocaError(
      "invalid-argument",
      `"hf:${repository}" is not a repository of the hub; write hf:owner/name or hf:owner/name@revision`,
    );
  }
  return `https://huggingface.co/${owner}/${name}/resolve/${encodeURIComponent(revision)}/`;
}

/** The address of a folder, ending in a slash; a query (a signed link, say) is kept for every file. */
function folderUrl(href: string): string {
  const url = new URL(href);
  if (/\.(safetensors|json|bin|pt)$/.test(url.pathname)) {
    throw new CocaError(
      "invalid-argument",
      `${href} is a file; give the address of the model folder, which holds open_clip_config.json and the weights`,
    );
  }
  if (!url.pathname.endsWith("/")) url.pathname += "/";
  return url.href;
}

function byName(files: readonly File[]): Record<string, Blob> {
  return Object.fromEntries(files.map((file) => [file.name, file]));
}

function toBlobs(files: Readonly<Record<string, Blob | Uint8Array<ArrayBuffer>>>): Record<string, Blob> {
  return Object.fromEntries(
    Object.entries(files).map(([name, content]) => [name, content instanceof Blob ? content : new Blob([content])]),
  );
}
