import type { CoCa, ModelInfo } from "coca-wasm";
import { Store } from "../store";

/** How fast one model is on one device of this computer. */
export interface Measurement {
  readonly name: string;
  readonly device: ModelInfo["device"];
  readonly loadMs: number;
  /** One picture through the image encoder, decoding and scaling included. */
  readonly encodeMs?: number;
  /** From the question to the first token, the picture's encoding included. */
  readonly firstTokenMs?: number;
  readonly tokensPerSecond?: number;
  /** Pictures embedded one after the other. */
  readonly imagesPerSecond?: number;
}

/** What can be measured while a model works. */
export type Times = Omit<Measurement, "name" | "device" | "loadMs">;

/** Collects times for each model and device, so that they can be compared. */
export class Measurements {
  readonly rows = new Store<readonly Measurement[]>([]);

  /** Notes times of a model, in place of earlier ones of the same kind. */
  note(info: ModelInfo, times: Times = {}): void {
    const rows = this.rows.get();
    const same = (row: Measurement): boolean => row.name === info.name && row.device === info.device;
    const row = {
      name: info.name,
      device: info.device,
      ...rows.find(same),
      loadMs: info.timings.totalMs,
      ...times,
    };
    this.rows.set(rows.some(same) ? rows.map((old) => (same(old) ? row : old)) : [...rows, row]);
  }
}

const encodings = 8;

/**
 * Measures a model on a picture. Every copy of the picture is a new one to the package, so that nothing it has kept is
 * taken for fast.
 */
export async function measure(model: CoCa, image: Blob, signal?: AbortSignal): Promise<Times> {
  const copy = (): Blob => image.slice(0, image.size, image.type);
  const options = signal === undefined ? {} : { signal };
  const times: number[] = [];
  for (let index = 0; index < encodings; index += 1) {
    const start = performance.now();
    await model.embedImage(copy(), options);
    times.push(performance.now() - start);
  }
  const total = times.reduce((one, other) => one + other, 0);
  const { timings } = await model.caption(copy(), options);
  return {
    encodeMs: times.sort((one, other) => one - other)[encodings / 2] ?? total / encodings,
    imagesPerSecond: (1000 * encodings) / total,
    firstTokenMs: timings.firstTokenMs,
    tokensPerSecond: timings.tokensPerSecond,
  };
}
