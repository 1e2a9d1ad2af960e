import { abortError, CocaError } from "../error.js";
import { type ModelCache, sha256Hex } from "../model-cache.js";
import type { FolderPayload } from "../protocol.js";
import type { LoadProgress } from "../types.js";
import { openBlob, openFile, type OpenFile } from "./cached-file.js";
import { dataUrlBytes, join } from "./download.js";
import { parseManifest, type FileRecord } from "./manifest.js";

/** Takes the weights of a model as they arrive, several files at once. */
export interface WeightsSink {
  /** Begins a file; `trusted` if its hash was compared with `coca.json`'s when it was stored. Gives its number. */
  open(name: string, trusted: boolean): number;
  push(file: number, bytes: Uint8Array): void;
  /** Ends a file; throws if it is incomplete, or not the one that `coca.json` describes. */
  close(file: number): void;
}

/** What reading a folder needs. */
export interface ReadOptions {
  readonly signal: AbortSignal;
  /** Hears of each download and check. */
  readonly emit: (progress: LoadProgress) => void;
  /** Where files at an address are kept; nothing is, without. */
  readonly cache?: ModelCache | undefined;
  readonly warn?: (message: string) => void;
  /** For tests. */
  readonly pause?: (ms: number, signal: AbortSignal) => Promise<void>;
}

const CONFIG = "open_clip_config.json";
const TOKENIZER = "tokenizer.json";
const MANIFEST = "coca.json";
/** A file of the package, which the runtime takes as one of the model's. */
const CLIP_MERGES = "clip_merges.txt.gz";
const INDEX = "model.safetensors.index.json";
/** Names of the weights in one file, in open_clip's order. */
const WEIGHTS = ["open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors"] as const;
/** Shards that are downloaded at once. */
const PARALLEL = 3;
/** The runtime copies what it is given; in slices, a large piece is never twice in its memory. */
const SLICE_BYTES = 2 ** 20;

/** A model folder, of which everything but the weights has been read. */
export class ModelFiles {
  /** The small files, by name. */
  readonly contents = new Map<string, Uint8Array<ArrayBuffer>>();
  readonly #reader: FolderReader;

  private constructor(reader: FolderReader) {
    this.#reader = reader;
  }

  /** Reads the small files of a folder. */
  static async open(folder: FolderPayload, options: ReadOptions): Promise<ModelFiles> {
    const reader = await FolderReader.open(folder, options);
    const files = new ModelFiles(reader);
    const manifest = await reader.small(MANIFEST);
    if (manifest) {
      reader.records = parseManifest(manifest);
      files.contents.set(MANIFEST, manifest);
    }
    const [config, tokenizer] = await Promise.all([reader.small(CONFIG), reader.small(TOKENIZER)]);
    if (!config) throw reader.missing(CONFIG, "every model folder has one");
    files.contents.set(CONFIG, config);
    if (tokenizer) files.contents.set(TOKENIZER, tokenizer);
    return files;
  }

  /** Adds the merges of CLIP's vocabulary, which is kept with the model. */
  async addClipMerges(url: string): Promise<void> {
    this.#reader.packaged.set(CLIP_MERGES, url);
    const merges = await this.#reader.small(CLIP_MERGES);
    if (!merges) throw this.#reader.missing(CLIP_MERGES, "serve the package's file there or set the option `clipVocabularyUrl`");
    this.contents.set(CLIP_MERGES, merges);
  }

  /** Whether every file read so far had a SHA-256 to be checked against. */
  get verified(): boolean {
    return this.#reader.verified;
  }

  /** Reads the weights into `sink`; gives their size. */
  async readWeights(sink: WeightsSink): Promise<number> {
    for (const name of WEIGHTS) {
      const file = await this.#reader.openWeights(name);
      if (file) return this.#reader.weights(name, file, sink);
    }
    const index = await this.#reader.small(INDEX);
    if (!index) {
      const pickled = "weights in a .bin or .pt file must be converted first (coca-train convert)";
      throw this.#reader.missing(WEIGHTS[0], `there is no ${INDEX} either, which weights in shards would have; ${pickled}`);
    }
    return this.#readShards(shardNames(index), sink);
  }

  /** To be called once the model is loaded: the next load may find everything in the cache. */
  async keep(): Promise<void> {
    await this.#reader.keep();
  }

  async #readShards(names: readonly string[], sink: WeightsSink): Promise<number> {
    const queue = [...names];
    let total = 0;
    let failed: { error: unknown } | undefined;
    const work = async (): Promise<void> => {
      for (let name = queue.shift(); name !== undefined && !failed; name = queue.shift()) {
        try {
          const file = await this.#reader.openWeights(name);
          if (!file) throw this.#reader.missing(name, `it is named in ${INDEX}`);
          const bytes = await this.#reader.weights(name, file, sink);
          total += bytes;
        } catch (error) {
          // The other downloads end, so that nothing goes on behind a load that failed.
          failed ??= { error };
          this.#reader.stop();
        }
      }
    };
    await Promise.all(Array.from({ length: PARALLEL }, work));
    if (failed) throw failed.error;
    return total;
  }
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
  verified = true;
  /** Addresses of files that are not the folder's. */
  readonly packaged = new Map<string, string>();
  readonly #folder: FolderPayload;
  readonly #options: ReadOptions;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  readonly #read = new Set<string>();
  readonly #absent = new Set<string>();
  /** Names that the folder did not have when it was loaded before; only believed when there is no network. */
  #knownAbsent: ReadonlySet<string> = new Set();

  private constructor(folder: FolderPayload, options: ReadOptions) {
    this.#folder = folder;
    this.#options = options;
    this.#signal = this.#stop.signal;
    // Not `AbortSignal.any`, which browsers have only had since 2024.
    if (options.signal.aborted) this.#stop.abort(options.signal.reason);
    options.signal.addEventListener("abort", () => this.#stop.abort(options.signal.reason), { signal: this.#signal });
  }

  static async open(folder: FolderPayload, options: ReadOptions): Promise<FolderReader> {
    const reader = new FolderReader(folder, options);
    const known = folder.kind === "address" ? await options.cache?.folder(folder.url) : undefined;
    reader.#knownAbsent = new Set(known?.absent);
    return reader;
  }

  /** A file that is read as a whole, or `undefined` if it is not there. */
  async small(name: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const file = await this.#open(name);
    if (!file) return undefined;
    const chunks: Uint8Array<ArrayBuffer>[] = [];
    for await (const chunk of this.#chunks(name, file)) chunks.push(chunk);
    const bytes = join(chunks);
    // Development servers answer every address they do not know with their start page.
    if (looksLikeHtml(bytes)) {
      await file.discard();
      this.#absent.add(name);
      return undefined;
    }
    await this.#checked(name, file, () => this.#verify(name, bytes));
    return bytes;
  }

  /** Opens a file of weights; `undefined` if it is not there. */
  openWeights(name: string): Promise<OpenFile | undefined> {
    return this.#open(name);
  }

  /** Reads a file of weights; gives its size. */
  async weights(name: string, file: OpenFile, sink: WeightsSink): Promise<number> {
    const number = sink.open(name, file.trusted);
    let loaded = 0;
    let start: Uint8Array<ArrayBuffer> | undefined;
    await this.#checked(name, file, async () => {
      for await (const chunk of this.#chunks(name, file)) {
        if (start === undefined) {
          start = chunk;
          this.#checkStart(name, start);
        }
        loaded += chunk.length;
        for (let at = 0; at < chunk.length; at += SLICE_BYTES) sink.push(number, chunk.subarray(at, at + SLICE_BYTES));
      }
      if (start === undefined) this.#checkStart(name, new Uint8Array());
      const checks = this.records.has(name) || file.fromCache;
      if (checks) this.#options.emit({ phase: "verify", file: name, loaded: 0, total: loaded });
      sink.close(number);
      if (checks) this.#options.emit({ phase: "verify", file: name, loaded, total: loaded });
    });
    return loaded;
  }

  missing(name: string, why: string): CocaError {
    return new CocaError("not-found", `${this.#where(name)} does not exist; ${why}`);
  }

  /** Ends all downloads. */
  stop(): void {
    this.#stop.abort();
  }

  async keep(): Promise<void> {
    const { cache, warn } = this.#options;
    if (this.#folder.kind !== "address" || !cache) return;
    const files = [...this.#read].map((name) => String(this.#source(name)));
    try {
      await cache.saveFolder({ folder: this.#folder.url, files, absent: [...this.#absent] });
    } catch (error) {
      warn?.(`${this.#folder.url} is not kept for the next load: ${String(error)}`);
    }
  }

  async #open(name: string): Promise<OpenFile | undefined> {
    const record = this.records.get(name);
    const listed = record ?? (this.packaged.has(name) || name === MANIFEST || name === CONFIG);
    if (!listed && this.#listsWeights()) return undefined;
    let file: OpenFile | undefined;
    try {
      file = await this.#openSource(name, record);
    } catch (error) {
      const offline = error instanceof CocaError && error.code === "network";
      if (!offline || !this.#knownAbsent.has(name)) throw error;
    }
    if (!file) this.#absent.add(name);
    else if (!record && name !== MANIFEST && !this.packaged.has(name)) this.verified = false;
    return file;
  }

  async #openSource(name: string, record: FileRecord | undefined): Promise<OpenFile | undefined> {
    const source = this.#source(name);
    if (source === undefined) return undefined;
    if (source instanceof Blob) return openBlob(source);
    const inline = dataUrlBytes(source);
    if (inline) return openBlob(new Blob([inline]));
    const { cache, warn = () => undefined, pause } = this.#options;
    const keeps = this.#folder.kind === "address" && /^https?:/.test(source);
    return openFile(source, record, {
      folder: this.#folder.kind === "address" ? this.#folder.url : source,
      signal: this.#signal,
      cache: keeps ? cache : undefined,
      warn,
      ...(pause ? { pause } : {}),
    });
  }

  /** The chunks of a file, with progress. */
  async *#chunks(name: string, file: OpenFile): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const total = file.bytes ?? this.records.get(name)?.bytes;
    let loaded = 0;
    const emit = (total: number | undefined): void => {
      this.#options.emit({ phase: "download", file: name, loaded, total, fromCache: file.fromCache });
    };
    emit(total);
    for await (const chunk of file.chunks) {
      loaded += chunk.length;
      emit(total);
      if (this.#signal.aborted) throw abortError(this.#options.signal);
      yield chunk;
    }
    if (total === undefined) emit(loaded);
  }

  /** Runs the check of a file, and keeps it, or nothing of it if it is not good. */
  async #checked(name: string, file: OpenFile, check: () => Promise<void>): Promise<void> {
    try {
      await check();
    } catch (error) {
      if (!isInterruption(error)) await file.discard().catch(() => undefined);
      throw error;
    }
    this.#read.add(name);
    await file.keep();
  }

  #checkStart(name: string, bytes: Uint8Array): void {
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
    if (bytes.length > 8 ? bytes[8] !== "{".charCodeAt(0) : bytes.length === 0) {
      throw new CocaError("weights-invalid", `${this.#where(name)} is not a safetensors file`);
    }
  }

  /** A list with weights in it is taken to be complete. */
  #listsWeights(): boolean {
    return [...this.records.keys()].some((name) => name.endsWith(".safetensors"));
  }

  #source(name: string): Blob | string | undefined {
    const packaged = this.packaged.get(name);
    if (packaged !== undefined) return packaged;
    if (this.#folder.kind === "files") return this.#folder.files[name];
    const folder = new URL(this.#folder.url);
    const url = new URL(name, folder);
    url.search = folder.search;
    return url.href;
  }

  async #verify(name: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    const record = name === MANIFEST ? undefined : this.records.get(name);
    if (!record) return;
    const { length } = bytes;
    if (record.bytes !== length) {
      throw new CocaError(
        "integrity",
        `${this.#where(name)} has ${length} bytes, but ${MANIFEST} says ${record.bytes}: it is truncated, or from ` +
          "another version of the model",
      );
    }
    this.#options.emit({ phase: "verify", file: name, loaded: 0, total: length });
    // On insecure pages, where browsers offer no hashes, the Rust side's own check is the only one.
    const sha256 = globalThis.crypto?.subtle ? await sha256Hex(bytes) : record.sha256;
    if (sha256 !== record.sha256) {
      throw new CocaError(
        "integrity",
        `${this.#where(name)} is damaged or from another version of the model: its SHA-256 is ${sha256}, but ` +
          `${MANIFEST} says ${record.sha256}`,
      );
    }
    this.#options.emit({ phase: "verify", file: name, loaded: length, total: length });
  }

  /** How to call a file in a message. */
  #where(name: string): string {
    const source = this.#source(name);
    return typeof source === "string" && !source.startsWith("data:") ? source : name;
  }
}

/** Says nothing about the file: it may be good as far as it came. */
function isInterruption(error: unknown): boolean {
  return error instanceof CocaError && (error.code === "network" || error.code === "aborted");
}

function looksLikeHtml(bytes: Uint8Array): boolean {
  const start = new TextDecoder().decode(bytes.subarray(0, 256)).trimStart();
  return /^<(!doctype|html|head|\?xml|!--)/i.test(start);
}

function startsWith(bytes: Uint8Array, text: string): boolean {
  return new TextDecoder().decode(bytes.subarray(0, text.length)) === text;
}
