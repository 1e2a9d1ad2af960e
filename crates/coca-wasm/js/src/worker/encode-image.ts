import type { ImagePayload } from "../protocol.js";
import { fetchImage } from "./fetch-image.js";
import type { EncodedImage, Session } from "./wasm.js";

/** Runs the image encoder on an image. Encoded bytes are decoded in Rust, as the native tools do. */
export async function encodeImage(session: Session, image: ImagePayload, signal: AbortSignal): Promise<EncodedImage> {
  return image.kind === "pixels"
    ? session.encode_rgba(image.width, image.height, new Uint8Array(image.rgba))
    : session.encode(await imageBytes(image, signal));
}

/** The bytes of an image file. */
export async function imageBytes(
  image: Exclude<ImagePayload, { kind: "pixels" }>,
  signal: AbortSignal,
): Promise<Uint8Array> {
  return image.kind === "encoded" ? new Uint8Array(await image.blob.arrayBuffer()) : fetchImage(image.url, signal);
}
