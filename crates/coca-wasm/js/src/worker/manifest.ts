import { CocaError } from "../error.js";

/** What `coca.json` says about one file of the folder. */
export interface FileRecord {
  readonly bytes: number;
  /** Lower-case hexadecimal. */
  readonly sha256: string;
}

/** The `files` of a `coca.json`, by name; empty if it lists none. The rest of it is read on the Rust side. */
export function parseManifest(json: Uint8Array): ReadonlyMap<string, FileRecord> {
  let manifest: unknown;
  try {
    manifest = JSON.parse(new TextDecoder().decode(json));
  } catch (cause) {
    throw new CocaError("config-invalid", "coca.json is not valid JSON", { cause });
  }
  const files: unknown = isObject(manifest) ? manifest["files"] : undefined;
  if (files === undefined || files === null) return new Map();
  if (!isObject(files)) throw new CocaError("config-invalid", "coca.json: `files` must be an object");
  return new Map(
    Object.entries(files).map(([name, record]) => {
      if (!isObject(record)) throw new CocaError("config-invalid", `coca.json: \`files\` has no object for ${name}`);
      const { bytes, sha256 } = record;
      if (!Number.isSafeInteger(bytes) || typeof sha256 !== "string" || !/^[0-9a-f]{64}$/i.test(sha256)) {
        throw new CocaError("config-invalid", `coca.json: ${name} needs \`bytes\` and a \`sha256\` of 64 hexadecimal digits`);
      }
      return [name, { bytes: bytes as number, sha256: sha256.toLowerCase() }];
    }),
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
