import { closeCamera, openCamera } from "../picture/camera";

/** What the live room looks at. */
export type LiveSource = { kind: "camera"; stream: MediaStream } | { kind: "file"; url: string; file: File };

/** Shows the camera in a video element. */
export async function showCamera(video: HTMLVideoElement): Promise<LiveSource> {
  const stream = await openCamera();
  video.srcObject = stream;
  video.controls = false;
  video.loop = false;
  await video.play();
  return { kind: "camera", stream };
}

/** Shows a video file in a video element, and plays it. Rejects when the browser cannot. */
export async function showFile(video: HTMLVideoElement, file: File): Promise<LiveSource> {
  const url = URL.createObjectURL(file);
  video.src = url;
  video.controls = true;
  video.loop = true;
  try {
    await ready(video);
    // Where playing needs a click, the controls are there for it.
    await video.play().catch(() => undefined);
  } catch {
    URL.revokeObjectURL(url);
    video.removeAttribute("src");
    throw new Error(
      `“${file.name}” is not a video that this browser can play. MP4 and WebM files mostly work`,
    );
  }
  return { kind: "file", url, file };
}

/** Turns the camera off, or lets go of the file. */
export function closeSource(video: HTMLVideoElement, source: LiveSource | undefined): void {
  if (source?.kind === "camera") closeCamera(source.stream);
  video.pause();
  video.srcObject = null;
  video.removeAttribute("src");
  video.load();
  if (source?.kind === "file") URL.revokeObjectURL(source.url);
}

/** Resolves with the first frame. */
function ready(video: HTMLVideoElement): Promise<void> {
  return new Promise((resolve, reject) => {
    if (video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA) return resolve();
    video.addEventListener("loadeddata", () => resolve(), { once: true });
    video.addEventListener("error", () => reject(video.error), { once: true });
  });
}
