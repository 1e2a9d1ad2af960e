import type { ImagePayload } from "../protocol.js";
import { fetchImage } from "./fetch-image.js";
import type { EncodedImage, Session } from "./wasm.js";

/** Runs the image encoder on an image. Encoded bytes are decoded in Rust, as the native tools do. */
export async function encodeImage(session: Session, image: ImagePayload, signal: AbortSignal): Promise<EncodedImage> {
  switch (image.kind) {
    case "pixels":
      return session.encode_rgba(image.width, image.height, new Uint8Array(image.rgba));
    case "encoded":
      return session.encode(new Uint8Array(await image.blob.arrayBuffer()));
    case "url":
      return session.encode(await fetchImage(image.url, signal));
  }
}
