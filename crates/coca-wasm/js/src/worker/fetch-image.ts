import { abortError, CocaError } from "../error.js";
import { dataUrlBytes } from "./download.js";

/** The bytes of an image file. */
export async function fetchImage(url: string, signal: AbortSignal): Promise<Uint8Array> {
  const inline = dataUrlBytes(url);
  if (inline) return inline;
  try {
    const response = await fetch(url, { signal });
    if (response.status === 404 || response.status === 410) {
      throw new CocaError("not-found", `there is no image at ${url}`);
    }
    if (!response.ok) {
      throw new CocaError("network", `the image ${url} cannot be fetched: the server answered ${response.status}`);
    }
    return new Uint8Array(await response.arrayBuffer());
  } catch (cause) {
    if (cause instanceof CocaError) throw cause;
    if (signal.aborted) throw abortError(signal);
    throw isForeign(url)
      ? new CocaError(
          "image-cors",
          `the image ${url} cannot be fetched: its server is unreachable, or does not send Access-Control-Allow-Origin ` +
            "and so does not let this page read it",
          { cause },
        )
      : new CocaError("network", `the image ${url} cannot be fetched`, { cause });
  }
}

function isForeign(url: string): boolean {
  return /^https?:/.test(url) && new URL(url).origin !== globalThis.location?.origin;
}
