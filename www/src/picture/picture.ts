/** A picture that the page shows and asks the model about. */
export interface Picture {
  /** What the model gets: the encoded file as it came, so that decoding and scaling are the package's own. */
  blob: Blob;
  /** An object URL of `blob`, for the page's own `<img>`; released by `release`. */
  url: string;
  width: number;
  height: number;
  /** What it is, for people: a file name, an example's description, … */
  name: string;
  /** How code would get it, as a JavaScript expression. */
  code: string;
}

/** A file that is not a picture, too large, or not reachable. The message is for the visitor. */
export class PictureError extends Error {
  override readonly name = "PictureError";
}

const maxBytes = 64e6;

/** Reads a picture, or says why it is none. */
export async function readPicture(source: Blob, name: string, code: string): Promise<Picture> {
  if (source.size === 0) throw new PictureError(`“${name}” is empty. Please choose another file.`);
  if (source.size > maxBytes) {
    throw new PictureError(`“${name}” is larger than 64 MB. Please choose a smaller picture.`);
  }
  const url = URL.createObjectURL(source);
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
  } catch {
    URL.revokeObjectURL(url);
    throw new PictureError(
      `“${name}” is not a picture that this browser can read. JPEG, PNG, WebP, GIF and AVIF files work.`,
    );
  }
  if (source.type === "image/svg+xml") {
    URL.revokeObjectURL(url);
    return readPicture(await drawn(image, name), name, code);
  }
  return { blob: source, url, width: image.naturalWidth, height: image.naturalHeight, name, code };
}

/** Fetches a picture from its address; other sites have to allow that. */
export async function fetchPicture(address: string): Promise<Picture> {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw new PictureError("This is not a web address. It should start with https://");
  }
  let response: Response;
  try {
    response = await fetch(url, { credentials: "omit" });
  } catch {
    throw new PictureError(
      `${url.host} did not give the picture to this page: the address is wrong, you are offline, or the site does not ` +
        "share its pictures with other pages (CORS). Save the picture and drop the file here instead.",
    );
  }
  if (!response.ok) {
    throw new PictureError(`${url.host} answered ${response.status} for this address. Please check it.`);
  }
  const name = decodeURIComponent(url.pathname.split("/").pop() ?? "") || url.host;
  return readPicture(await response.blob(), name, JSON.stringify(url.href));
}

/** Frees the object URL of a picture that is no longer shown. */
export function release(picture: Picture | undefined): void {
  if (picture !== undefined) URL.revokeObjectURL(picture.url);
}

/** A drawing (SVG) as pixels on white, because only the page, not the model, can draw it. */
async function drawn(image: HTMLImageElement, name: string): Promise<Blob> {
  const scale = 512 / Math.max(image.naturalWidth, image.naturalHeight, 1);
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round((image.naturalWidth || 512) * scale));
  canvas.height = Math.max(1, Math.round((image.naturalHeight || 512) * scale));
  const context = canvas.getContext("2d");
  if (context !== null) {
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
  }
  const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve));
  if (blob === null) throw new PictureError(`“${name}” could not be drawn. Please try a PNG of it.`);
  return blob;
}
