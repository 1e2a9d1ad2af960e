/**
 * An image index as bytes: eight of `MAGIC`, the length of the header (u32), the header (JSON), zeros up to a multiple
 * of four, and the embeddings (f32), one after the other. Numbers are little-endian.
 */
import { CocaError } from "./error.js";
import type { ImageId, ModelInfo } from "./types.js";

const MAGIC = "cocaidx1";
const START = MAGIC.length + 4;

/** The model is named, so that an index is never searched with another model's embeddings. */
interface Header {
  readonly model: string;
  readonly width: number;
  readonly ids: readonly ImageId[];
}

/** Writes embeddings of one model. */
export function writeIndex(embeddings: ReadonlyMap<ImageId, Float32Array>, info: ModelInfo): Uint8Array<ArrayBuffer> {
  const [first] = embeddings.values();
  const width = first?.length ?? 0;
  const header: Header = { model: modelKey(info), width, ids: [...embeddings.keys()] };
  const json = new TextEncoder().encode(JSON.stringify(header));
  const body = padded(START + json.length);
  const bytes = new Uint8Array(body + 4 * width * embeddings.size);
  const view = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode(MAGIC));
  view.setUint32(MAGIC.length, json.length, true);
  bytes.set(json, START);
  let at = body;
  for (const embedding of embeddings.values()) {
    for (const value of embedding) {
      view.setFloat32(at, value, true);
      at += 4;
    }
  }
  return bytes;
}

/** Reads what {@link writeIndex} wrote for the same model. */
export function readIndex(bytes: Uint8Array, info: ModelInfo): Map<ImageId, Float32Array> {
  if (!(bytes instanceof Uint8Array)) throw refused("it is not a Uint8Array");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magic = new TextDecoder().decode(bytes.subarray(0, MAGIC.length));
  if (bytes.length < START || magic !== MAGIC) throw refused("it does not begin as one");
  const length = view.getUint32(MAGIC.length, true);
  const body = padded(START + length);
  if (body > bytes.length) throw refused("it is cut off");
  const { model, width, ids } = parse(bytes.subarray(START, START + length));
  if (model !== modelKey(info)) {
    throw new CocaError(
      "invalid-argument",
      `the index was made with another model (${model}); embed the images again with this one (${modelKey(info)})`,
    );
  }
  if (bytes.length !== body + 4 * width * ids.length) throw refused("its length is wrong");
  const embeddings = new Map<ImageId, Float32Array>();
  ids.forEach((id, row) => {
    const embedding = Float32Array.from({ length: width }, (_, at) => view.getFloat32(body + 4 * (row * width + at), true));
    if (!embedding.every(Number.isFinite)) throw refused("an embedding is not made of numbers");
    embeddings.set(id, embedding);
  });
  if (embeddings.size !== ids.length) throw refused("an image is in it twice");
  return embeddings;
}

function parse(json: Uint8Array): Header {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder().decode(json));
  } catch (cause) {
    throw refused("its header is not JSON", cause);
  }
  if (typeof header !== "object" || header === null) throw refused("its header is not an object");
  const { model, width, ids } = header as Partial<Record<keyof Header, unknown>>;
  const isId = (id: unknown): id is ImageId => typeof id === "string" || Number.isFinite(id);
  if (typeof model !== "string" || !Number.isSafeInteger(width) || (width as number) < 0) throw refused("its header lacks fields");
  if (!Array.isArray(ids) || !ids.every(isId)) throw refused("its header has no list of ids");
  return { model, width: width as number, ids };
}

/** Which model made the embeddings, as far as its information tells. */
function modelKey({ name, revision, parameters }: ModelInfo): string {
  return `${name}, ${revision === undefined ? "" : `revision ${revision}, `}${parameters} parameters`;
}

function padded(length: number): number {
  return Math.ceil(length / 4) * 4;
}

function refused(why: string, cause?: unknown): CocaError {
  return new CocaError("invalid-argument", `the bytes are not an exported image index: ${why}`, { cause });
}
