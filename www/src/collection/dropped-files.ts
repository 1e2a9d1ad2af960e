/** Enough for an album, and little enough that no drop can fill the memory. */
export const maxFiles = 2000;

/** The files that were dropped, folders opened up; `folder` says whether there was one. */
export async function droppedFiles(data: DataTransfer | null): Promise<{ files: File[]; folder: boolean }> {
  // The list is only there while the event is: everything is taken from it before the first wait.
  const entries = [...(data?.items ?? [])]
    .map((item) => item.webkitGetAsEntry?.() ?? null)
    .filter((entry) => entry !== null);
  const loose = [...(data?.files ?? [])];
  const folder = entries.some((entry) => entry.isDirectory);
  if (!folder) return { files: loose, folder };
  const files: File[] = [];
  for (const entry of entries) await collect(entry, files);
  return { files, folder };
}

async function collect(entry: FileSystemEntry, files: File[]): Promise<void> {
  if (files.length >= maxFiles) return;
  if (entry.isFile) {
    const file = await new Promise<File | undefined>((resolve) => {
      (entry as FileSystemFileEntry).file(resolve, () => resolve(undefined));
    });
    if (file) files.push(file);
    return;
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  // A folder is read in parts, until there are none.
  for (;;) {
    const part = await new Promise<FileSystemEntry[]>((resolve) =>
      reader.readEntries(resolve, () => resolve([])),
    );
    if (part.length === 0) return;
    for (const inner of part) await collect(inner, files);
  }
}

/** Whether a file is likely a picture; browsers do not know the type of every one. */
export function looksLikePicture(file: File): boolean {
  return file.type === ""
    ? /\.(jpe?g|png|webp|gif|avif|bmp)$/i.test(file.name)
    : file.type.startsWith("image/");
}
