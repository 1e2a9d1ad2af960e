/**
 * Model files kept in the browser's Cache API, so that a second load needs no network.
 *
 * A file is cut into pieces, each stored under the file's address with a mark; a record beside them says which version
 * of the file they are of, and the SHA-256 of each. A piece is stored before the record names it, so whatever is
 * interrupted leaves a record that is true; and it is compared with its hash whenever it is read.
 */
import type { CachedModel } from "./types.js";

/** Size of all pieces but a file's last. Large enough for few entries, small enough that a lost one costs little. */
const PIECE_BYTES = 16 * 2 ** 20;

const STORE = "coca-wasm-models";
/** The query parameter that makes the addresses of cache entries. */
const MARK = "coca-wasm-cache";

/** What is kept of a file. */
export interface CachedFile {
  /** The model folder that it belongs to. */
  readonly folder: string;
  readonly url: string;
  readonly etag: string | undefined;
  readonly lastModified: string | undefined;
  /** Size of the whole file, once known. */
  readonly bytes: number | undefined;
  /** The SHA-256 that `coca.json` gives the whole file. */
  readonly sha256: string | undefined;
  /** Size of all pieces but the last. */
  readonly pieceBytes: number;
  /** The SHA-256 of each piece that is there, from the file's beginning. */
  readonly pieces: readonly string[];
  /** Bytes of these pieces. */
  readonly stored: number;
  /** Whether all of it is there and was found to be good. */
  readonly complete: boolean;
}

/** What is kept of a folder from which a model was once loaded. */
export interface CachedFolder {
  readonly folder: string;
  /** Addresses of the files that make up the model. */
  readonly files: readonly string[];
  /** Names of files that the folder does not have. */
  readonly absent: readonly string[];
}

/** The cache of one load; see {@link openModelCache}. */
export class ModelCache {
  /** Size of the pieces that new files are cut into. */
  readonly pieceBytes: number;
  readonly #cache: Cache;

  constructor(cache: Cache, pieceBytes = PIECE_BYTES) {
    this.#cache = cache;
    this.pieceBytes = pieceBytes;
  }

  /** What is kept of a file. */
  file(url: string): Promise<CachedFile | undefined> {
    return readJson(this.#cache, key(url, "file"));
  }

  async saveFile(file: CachedFile): Promise<void> {
    await this.#cache.put(key(file.url, "file"), json(file));
  }

  /** What is kept of a folder. */
  folder(url: string): Promise<CachedFolder | undefined> {
    return readJson(this.#cache, key(url, "folder"));
  }

  async saveFolder(folder: CachedFolder): Promise<void> {
    await this.#cache.put(key(folder.folder, "folder"), json(folder));
  }

  /** A piece of a file, or `undefined` if it is gone or damaged. */
  async piece(file: CachedFile, index: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const response = await this.#cache.match(key(file.url, index));
    if (!response) return undefined;
    const bytes = new Uint8Array(await response.arrayBuffer());
    return (await sha256Hex(bytes)) === file.pieces[index] ? bytes : undefined;
  }

  /** Stores a piece; the record that names it must be saved afterwards. Gives its SHA-256. */
  async savePiece(url: string, index: number, bytes: Uint8Array<ArrayBuffer>): Promise<string> {
    const sha256 = await sha256Hex(bytes);
    await this.#cache.put(key(url, index), new Response(bytes, { headers: { "content-type": "application/octet-stream" } }));
    return sha256;
  }

  /** Removes what is kept of a file. */
  async remove(url: string): Promise<void> {
    // The record first: without it the pieces are nothing.
    const file = await this.file(url);
    await this.#cache.delete(key(url, "file"));
    for (let index = 0; index <= (file?.pieces.length ?? 0); index++) await this.#cache.delete(key(url, index));
  }
}

/** The cache, or `undefined` where there is none: on insecure pages, and where the user or a policy forbids storage. */
export async function openModelCache(): Promise<ModelCache | undefined> {
  const cache = await openStore();
  return cache && new ModelCache(cache);
}

/** The models that are kept, whole or in part. */
export async function listCachedModels(): Promise<CachedModel[]> {
  const cache = await openStore();
  if (!cache) return [];
  const folders = new Map<string, CachedFolder>();
  const files: CachedFile[] = [];
  for (const request of await cache.keys()) {
    const kind = markOf(request.url);
    if (kind === "folder") {
      const folder = await readJson<CachedFolder>(cache, request.url);
      if (folder) folders.set(folder.folder, folder);
    } else if (kind === "file") {
      const file = await readJson<CachedFile>(cache, request.url);
      if (file) files.push(file);
    }
  }
  return [...new Set(files.map(({ folder }) => folder))].sort().map((url) => {
    const own = files.filter(({ folder }) => folder === url);
    const whole = new Set(own.filter(({ complete }) => complete).map((file) => file.url));
    const folder = folders.get(url);
    return {
      url,
      bytes: own.reduce((bytes, { stored }) => bytes + stored, 0),
      files: own.length,
      complete: folder !== undefined && folder.files.every((file) => whole.has(file)),
    };
  });
}

/** Removes a model by the address of its folder, or all of them. */
export async function deleteCachedModels(folder?: string): Promise<void> {
  const cache = await openStore();
  if (!cache) return;
  if (folder === undefined) {
    await globalThis.caches.delete(STORE);
    return;
  }
  const store = new ModelCache(cache);
  await cache.delete(key(folder, "folder"));
  for (const request of await cache.keys()) {
    if (markOf(request.url) !== "file") continue;
    const file = await readJson<CachedFile>(cache, request.url);
    if (file?.folder === folder) await store.remove(file.url);
  }
}

async function openStore(): Promise<Cache | undefined> {
  try {
    if (!globalThis.crypto?.subtle) return undefined;
    return await globalThis.caches?.open(STORE);
  } catch {
    return undefined;
  }
}

/** The address of an entry: what is kept at it, of the file or folder. Queries are part of what a file is. */
function key(url: string, kind: "file" | "folder" | number): string {
  const address = new URL(url);
  address.hash = "";
  address.searchParams.set(MARK, String(kind));
  return address.href;
}

function markOf(url: string): string | null {
  return new URL(url).searchParams.get(MARK);
}

async function readJson<T>(cache: Cache, url: string): Promise<T | undefined> {
  const response = await cache.match(url);
  try {
    return (await response?.json()) as T | undefined;
  } catch {
    return undefined;
  }
}

function json(value: unknown): Response {
  return new Response(JSON.stringify(value), { headers: { "content-type": "application/json" } });
}

/** Lower-case hexadecimal. Throws on insecure pages, where browsers offer no hashes. */
export async function sha256Hex(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
