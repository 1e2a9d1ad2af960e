import { droppedFiles } from "../collection/dropped-files";
import { byId } from "../dom";
import { fetchPicture, PictureError, readPicture, type Picture } from "./picture";

/** Where a new picture goes, and where what is wrong with one is said. */
export interface PictureSink {
  /** Takes the picture that `load` brings, unless a later one overtakes it. */
  offer(load: () => Promise<Picture>): void;
  refuse(message: string): void;
}

const fromInput = "input.files[0]";

/** Where files go that are not one picture. */
export interface OtherFiles {
  /** Whether even a single picture belongs to the collection now. */
  collecting(): boolean;
  collect(files: readonly File[]): void;
  play(video: File): void;
}

/** Wires dropping, pasting, choosing and fetching. */
export function watchImageInput(sink: PictureSink, others: OtherFiles): void {
  const offerFile = (file: File): void =>
    sink.offer(() => readPicture(file, file.name || "pasted picture", fromInput));

  const file = byId("file", HTMLInputElement);
  file.addEventListener("change", () => {
    const chosen = file.files?.[0];
    if (chosen) offerFile(chosen);
    // The same file can be chosen again.
    file.value = "";
  });

  const address = byId("address", HTMLInputElement);
  byId("address-form", HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault();
    sink.offer(() => fetchPicture(address.value.trim()));
  });

  watchDrops(sink, offerFile, others);

  document.addEventListener("paste", (event) => {
    const typing = event.target instanceof HTMLInputElement || event.target instanceof HTMLTextAreaElement;
    const pasted = [...(event.clipboardData?.files ?? [])].find((it) => it.type.startsWith("image/"));
    if (pasted) {
      event.preventDefault();
      offerFile(pasted);
    } else if (!typing) {
      const text = event.clipboardData?.getData("text/plain").trim() ?? "";
      if (/^https?:\/\//.test(text)) sink.offer(() => fetchPicture(text));
    }
  });

  byId("paste", HTMLButtonElement).addEventListener("click", () => sink.offer(pictureFromClipboard));
}

/** Anything may be dropped anywhere on the page. */
function watchDrops(sink: PictureSink, offerFile: (file: File) => void, others: OtherFiles): void {
  const mark = (on: boolean): void => void document.body.classList.toggle("dropping", on);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    mark(true);
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) mark(false);
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    mark(false);
    const address = event.dataTransfer?.getData("text/uri-list").split("\n")[0]?.trim();
    void droppedFiles(event.dataTransfer).then(({ files, folder }) => {
      const [file] = files;
      if (files.length > 1 || folder || (file && others.collecting())) others.collect(files);
      else if (file?.type.startsWith("video/")) others.play(file);
      else if (file) offerFile(file);
      else if (address) sink.offer(() => fetchPicture(address));
      else
        sink.refuse("There was no picture in what you dropped. Drop a file, or a picture from another page.");
    });
  });
}

async function pictureFromClipboard(): Promise<Picture> {
  // Not every browser lets a page read the clipboard on a click.
  const clipboard: Partial<Clipboard> | undefined = navigator.clipboard;
  if (clipboard?.read === undefined) {
    throw new PictureError(
      "This browser shares its clipboard only through the keyboard: press Ctrl+V, or ⌘V, instead.",
    );
  }
  let items: ClipboardItems;
  try {
    items = await clipboard.read();
  } catch {
    throw new PictureError("The browser did not allow reading the clipboard. Press Ctrl+V, or ⌘V, instead.");
  }
  for (const item of items) {
    const type = item.types.find((it) => it.startsWith("image/"));
    if (type !== undefined) return readPicture(await item.getType(type), "pasted picture", fromInput);
  }
  throw new PictureError("There is no picture on the clipboard. Copy one first.");
}
