import { CocaError } from "../error.js";
import { sha256Hex, type CachedFile, type ModelCache } from "../model-cache.js";
import { chunksOf, download, fetchFile, join, sameVersion, validatorsOf, type Validators } from "./download.js";
import type { FileRecord } from "./manifest.js";

/** A file that is about to be read. */
export interface OpenFile {
  /** Size, if known. */
  readonly bytes: number | undefined;
  /** Whether no byte of it comes from the network. */
  readonly fromCache: boolean;
  /** Whether it was found to be good when it was stored, and each piece is compared with its hash now. */
  readonly trusted: boolean;
  /** To be read once. */
  readonly chunks: AsyncIterable<Uint8Array<ArrayBuffer>>;
  /** Says that the file was read to its end and is good. */
  keep(): Promise<void>;
  /** Says that it is not what it should be: nothing of it stays in the cache. */
  discard(): Promise<void>;
}

/** Where files come from, and go to. */
export interface FileContext {
  /** The address of the model folder. */
  readonly folder: string;
  readonly signal: AbortSignal;
  readonly cache: ModelCache | undefined;
  /** Hears why a file is not kept, once. */
  readonly warn: (message: string) => void;
  /** For tests. */
  readonly pause?: (ms: number, signal: AbortSignal) => Promise<void>;
}

/**
 * Opens a file of a model folder at an address; `undefined` if it does not exist. What the cache has of the very
 * version that the server has, or that `expected` describes, is not downloaded again. When the server cannot be
 * reached, a complete file in the cache is taken as it is.
 */
export async function openFile(url: string, expected: FileRecord | undefined, context: FileContext): Promise<OpenFile | undefined> {
  const { cache, signal } = context;
  let kept = await cache?.file(url);
  if (cache && kept && expected && kept.sha256 !== expected.sha256) {
    await cache.remove(url);
    kept = undefined;
  }
  if (kept?.complete && expected) return new CachedReader(kept, context).open();
  let response: Response | undefined;
  try {
    // The browser's own cache would keep large files a second time.
    response = await fetchFile(url, signal, cache ? { cache: "no-store" } : {});
  } catch (error) {
    if (kept?.complete && error instanceof CocaError && error.code === "network") return new CachedReader(kept, context).open();
    throw error;
  }
  if (!response) {
    await cache?.remove(url);
    return undefined;
  }
  const found = validatorsOf(response);
  if (kept && sameVersion(kept, found)) {
    if (kept.complete || kept.pieces.length > 0) {
      await response.body?.cancel().catch(() => undefined);
      return new CachedReader(kept, context).open();
    }
  } else if (kept) {
    await cache?.remove(url);
  }
  const fresh: CachedFile = {
    folder: context.folder,
    url,
    ...found,
    bytes: found.bytes ?? undefined,
    sha256: expected?.sha256,
    pieceBytes: cache?.pieceBytes ?? 0,
    pieces: [],
    stored: 0,
    complete: false,
  };
  return new CachedReader(fresh, context, response).open();
}

/** A file that is in memory or on disk, or inside its own address. */
export function openBlob(blob: Blob): OpenFile {
  const nothing = async (): Promise<void> => undefined;
  return { bytes: blob.size, fromCache: false, trusted: false, chunks: chunksOf(blob), keep: nothing, discard: nothing };
}

/** Reads the pieces that are kept, then the network, and keeps what comes from there. */
class CachedReader {
  readonly #context: FileContext;
  readonly #response: Response | undefined;
  readonly #validators: Validators;
  #file: CachedFile;
  #cache: ModelCache | undefined;

  constructor(file: CachedFile, context: FileContext, response?: Response) {
    this.#file = file;
    this.#context = context;
    this.#response = response;
    this.#validators = file;
    this.#cache = context.cache;
  }

  open(): OpenFile {
    const { bytes, complete } = this.#file;
    return {
      bytes,
      fromCache: complete,
      trusted: complete,
      chunks: this.#chunks(),
      keep: async () => {
        if (!complete) await this.#save({ ...this.#file, complete: true });
      },
      discard: async () => this.#context.cache?.remove(this.#file.url),
    };
  }

  async *#chunks(): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const { pieces, complete, stored, bytes } = this.#file;
    for (let index = 0; index < pieces.length; index++) {
      yield (await this.#cache?.piece(this.#file, index)) ?? (await this.#repair(index));
    }
    if (!complete && (bytes === undefined || stored < bytes)) yield* this.#rest(stored);
  }

  /** The part of the file that is not kept. Only what the reader has taken without complaint is stored. */
  async *#rest(from: number): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const { pieceBytes } = this.#file;
    let pending: Uint8Array<ArrayBuffer>[] = [];
    let size = 0;
    for await (const chunk of this.#download({ from, ...(this.#response ? { response: this.#response } : {}) })) {
      yield chunk;
      pending.push(chunk);
      size += chunk.length;
      while (size >= pieceBytes && this.#cache) {
        const bytes = join(pending);
        await this.#store(bytes.slice(0, pieceBytes));
        pending = [bytes.subarray(pieceBytes)];
        size -= pieceBytes;
      }
      if (!this.#cache) [pending, size] = [[], 0];
    }
    if (size > 0) await this.#store(join(pending));
    const { stored } = this.#file;
    if (this.#cache) await this.#save({ ...this.#file, bytes: stored });
  }

  /** Downloads a piece that is lost or damaged again. */
  async #repair(index: number): Promise<Uint8Array<ArrayBuffer>> {
    const { url, pieces, pieceBytes, stored } = this.#file;
    const from = index * pieceBytes;
    const chunks: Uint8Array<ArrayBuffer>[] = [];
    for await (const chunk of this.#download({ from, to: Math.min(from + pieceBytes, stored) })) chunks.push(chunk);
    const bytes = join(chunks);
    if ((await sha256Hex(bytes)) !== pieces[index]) {
      await this.#cache?.remove(url);
      throw new CocaError("integrity", `what the browser kept of ${url} is damaged and was removed; load the model again`);
    }
    await this.#attempt(async (cache) => void (await cache.savePiece(url, index, bytes)));
    return bytes;
  }

  #download(range: { from: number; to?: number; response?: Response }): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const { signal, pause } = this.#context;
    return download(this.#file.url, { ...range, signal, validators: this.#validators, ...(pause ? { pause } : {}) });
  }

  async #store(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    await this.#attempt(async (cache) => {
      const { url, pieces, stored } = this.#file;
      const sha256 = await cache.savePiece(url, pieces.length, bytes);
      await this.#save({ ...this.#file, pieces: [...pieces, sha256], stored: stored + bytes.length });
    });
  }

  async #save(file: CachedFile): Promise<void> {
    this.#file = file;
    await this.#attempt((cache) => cache.saveFile(file));
  }

  /** Storage that is full or forbidden costs the next load a download, and this one nothing. */
  async #attempt(work: (cache: ModelCache) => Promise<void>): Promise<void> {
    const cache = this.#cache;
    if (!cache) return;
    try {
      await work(cache);
    } catch (error) {
      this.#cache = undefined;
      const full = error instanceof DOMException && error.name === "QuotaExceededError";
      const why = full ? "the browser's storage is full" : String(error);
      this.#context.warn(`${this.#file.url} is not kept for the next load: ${why}`);
      await cache.remove(this.#file.url).catch(() => undefined);
    }
  }
}
