import { CocaError } from "../error.js";
import type { FolderPayload } from "../protocol.js";
import type { LoadProgress } from "../types.js";
import { dataUrlBytes, fetchFile, readBytes } from "./download.js";
import { parseManifest, type FileRecord } from "./manifest.js";

/** The files of a model folder, checked as far as bytes alone can tell. */
export interface ModelFiles {
  /** By name. */
  readonly contents: Map<string, Uint8Array<ArrayBuffer>>;
  /** How much of it is weights. */
  readonly weightBytes: number;
  /** Whether every file had a SHA-256 to be checked against. */
  readonly verified: boolean;
}

const CONFIG = "open_clip_config.json";
const TOKENIZER = "tokenizer.json";
const MANIFEST = "coca.json";
const WEIGHTS = "open_clip_model.safetensors";
const INDEX = "model.safetensors.index.json";

/** Reads a model folder. `emit` hears of each download and check. */
export async function readModel(
  folder: FolderPayload,
  signal: AbortSignal,
  emit: (progress: LoadProgress) => void,
): Promise<ModelFiles> {
  const reader = new FolderReader(folder, signal, emit);
  const contents = new Map<string, Uint8Array<ArrayBuffer>>();
  const manifest = await reader.json(MANIFEST);
  if (manifest) {
    reader.records = parseManifest(manifest);
    contents.set(MANIFEST, manifest);
  }
  const [config, tokenizer] = await Promise.all([reader.json(CONFIG), reader.json(TOKENIZER)]);
  if (!config) throw reader.missing(CONFIG, "every model folder has one");
  contents.set(CONFIG, config);
  if (tokenizer) contents.set(TOKENIZER, tokenizer);
  const weightBytes = await readWeights(reader, contents);
  return { contents, weightBytes, verified: reader.verified };
}

async function readWeights(reader: FolderReader, contents: Map<string, Uint8Array<ArrayBuffer>>): Promise<number> {
  const single = await reader.weights(WEIGHTS);
  if (single) {
    contents.set(WEIGHTS, single);
    return single.length;
  }
  const index = await reader.json(INDEX);
  if (!index) throw reader.missing(WEIGHTS, `there is no ${INDEX} either, which weights in shards would have`);
  contents.set(INDEX, index);
  let total = 0;
  for (const name of shardNames(index)) {
    const shard = await reader.weights(name);
    if (!shard) throw reader.missing(name, `it is named in ${INDEX}`);
    contents.set(name, shard);
    total += shard.length;
  }
  return total;
}

/** The shard names of an index, each once. Names are input from outside and must not lead out of the folder. */
export function shardNames(index: Uint8Array): string[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder().decode(index));
  } catch (cause) {
    throw new CocaError("weights-invalid", `${INDEX} is not valid JSON`, { cause });
  }
  const map: unknown = typeof parsed === "object" && parsed !== null && "weight_map" in parsed ? parsed.weight_map : undefined;
  if (typeof map !== "object" || map === null) {
    throw new CocaError("weights-invalid", `${INDEX} has no weight_map`);
  }
  const names = [...new Set<unknown>(Object.values(map))];
  return names.map((name) => {
    if (typeof name !== "string" || !/^\w[\w.-]*\.safetensors$/.test(name)) {
      throw new CocaError("weights-invalid", `${INDEX} names a shard ${JSON.stringify(name)}, which is not a file name`);
    }
    return name;
  });
}

class FolderReader {
  /** What `coca.json` says about the files; with it there is no need to try which of them exist. */
  records: ReadonlyMap<string, FileRecord> = new Map();
  /** Stays true while every file read could be checked. */
  verified = true;
  readonly #folder: FolderPayload;
  readonly #signal: AbortSignal;
  readonly #emit: (progress: LoadProgress) => void;

  constructor(folder: FolderPayload, signal: AbortSignal, emit: (progress: LoadProgress) => void) {
    this.#folder = folder;
    this.#signal = signal;
    this.#emit = emit;
  }

  /** A JSON file, or `undefined` if it is not there. */
  async json(name: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const bytes = await this.#read(name);
    // Development servers answer every address they do not know with their start page.
    return bytes && !looksLikeHtml(bytes) ? bytes : undefined;
  }

  /** A safetensors file, or `undefined` if it is not there. */
  async weights(name: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const bytes = await this.#read(name);
    if (!bytes) return undefined;
    if (looksLikeHtml(bytes)) {
      throw new CocaError(
        "weights-invalid",
        `${this.#where(name)} is an HTML page, not weights: the server answers unknown addresses with a page, or asks ` +
          "for a login; on Hugging Face the address of a model folder is https://huggingface.co/OWNER/NAME/resolve/main/",
      );
    }
    if (startsWith(bytes, "version https://git-lfs")) {
      throw new CocaError(
        "weights-invalid",
        `${this.#where(name)} is a Git LFS pointer, not weights: run git lfs pull where the model is served from`,
      );
    }
    // 8 bytes with the length of the header, which is a JSON object.
    if (bytes[8] !== "{".charCodeAt(0)) {
      throw new CocaError("weights-invalid", `${this.#where(name)} is not a safetensors file`);
    }
    return bytes;
  }

  missing(name: string, why: string): CocaError {
    return new CocaError("not-found", `${this.#where(name)} does not exist; ${why}`);
  }

  async #read(name: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const record = this.records.get(name);
    if (!record && name !== MANIFEST && name !== CONFIG && this.#listsWeights()) return undefined;
    const bytes = await this.#bytes(name, record);
    if (!bytes || name === MANIFEST) return bytes;
    if (record) await this.#verify(name, bytes, record);
    else this.verified = false;
    return bytes;
  }

  async #bytes(name: string, record: FileRecord | undefined): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const onBytes = (loaded: number, total: number | undefined): void => {
      this.#emit({ phase: "download", file: name, loaded, total: total ?? record?.bytes });
    };
    const source = this.#source(name);
    if (source === undefined) return undefined;
    if (source instanceof Blob) {
      const bytes = new Uint8Array(await source.arrayBuffer());
      onBytes(bytes.length, bytes.length);
      return bytes;
    }
    const inline = dataUrlBytes(source);
    if (inline) return inline;
    const response = await fetchFile(source, this.#signal);
    return response && readBytes(response, this.#signal, onBytes);
  }

  /** A list with weights in it is taken to be complete. */
  #listsWeights(): boolean {
    return [...this.records.keys()].some((name) => name.endsWith(".safetensors"));
  }

  #source(name: string): Blob | string | undefined {
    if (this.#folder.kind === "files") return this.#folder.files[name];
    const folder = new URL(this.#folder.url);
    const url = new URL(name, folder);
    url.search = folder.search;
    return url.href;
  }

  async #verify(name: string, bytes: Uint8Array<ArrayBuffer>, record: FileRecord): Promise<void> {
    const { length } = bytes;
    if (record.bytes !== length) {
      throw new CocaError(
        "integrity",
        `${this.#where(name)} has ${length} bytes, but ${MANIFEST} says ${record.bytes}: it is truncated, or from ` +
          "another version of the model",
      );
    }
    this.#emit({ phase: "verify", file: name, loaded: 0, total: length });
    const sha256 = await sha256Hex(bytes);
    if (sha256 !== undefined && sha256 !== record.sha256) {
      throw new CocaError(
        "integrity",
        `${this.#where(name)} is damaged or from another version of the model: its SHA-256 is ${sha256}, but ` +
          `${MANIFEST} says ${record.sha256}`,
      );
    }
    this.#emit({ phase: "verify", file: name, loaded: length, total: length });
  }

  /** How to call a file in a message. */
  #where(name: string): string {
    const source = this.#source(name);
    return typeof source === "string" && !source.startsWith("data:") ? source : name;
  }
}

/** `undefined` on insecure pages, where browsers offer no hashes; there the Rust side's own check is the only one. */
async function sha256Hex(bytes: Uint8Array<ArrayBuffer>): Promise<string | undefined> {
  const subtle = globalThis.crypto?.subtle as SubtleCrypto | undefined;
  if (!subtle) return undefined;
  const digest = new Uint8Array(await subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function looksLikeHtml(bytes: Uint8Array): boolean {
  const start = new TextDecoder().decode(bytes.subarray(0, 256)).trimStart();
  return /^<(!doctype|html|head|\?xml|!--)/i.test(start);
}

function startsWith(bytes: Uint8Array, text: string): boolean {
  return new TextDecoder().decode(bytes.subarray(0, text.length)) === text;
}
