import { abortError, CocaError } from "./error.js";
import { absoluteUrl } from "./platform.js";
import type { ImageInput, VideoFrameInfo, VideoInput } from "./types.js";

/** So long a video may take to show a frame, in milliseconds, before it counts as broken. */
const PATIENCE = 30_000;

/** So long the presentation of a frame is waited for after it was sought, in milliseconds, where the browser tells. */
const TOLD_PATIENCE = 2_000;

/** The same where nothing tells. */
const UNTOLD_PATIENCE = 100;

/** Hands over frames that are evenly spaced over a video, one after the other. */
export async function eachFrame(
  video: VideoInput,
  count: number,
  signal: AbortSignal | undefined,
  take: (image: ImageInput, frame: VideoFrameInfo) => Promise<void>,
): Promise<void> {
  if (Array.isArray(video)) return eachImage(video as readonly ImageInput[], count, signal, take);
  if (typeof HTMLVideoElement === "undefined") {
    throw new CocaError("invalid-argument", "there is no <video> here to decode with; give the frames as a list of images");
  }
  if (video instanceof HTMLVideoElement) {
    const { currentTime, paused } = video;
    video.pause();
    try {
      await eachSought(video, count, signal, take);
    } finally {
      video.currentTime = currentTime;
      if (!paused) void video.play().catch(() => undefined);
    }
    return;
  }
  const own = document.createElement("video");
  // So that a file of another server that allows it can be read out.
  own.crossOrigin = "anonymous";
  own.muted = true;
  own.preload = "auto";
  const address = video instanceof Blob ? URL.createObjectURL(video) : absoluteUrl(String(video));
  try {
    own.src = address;
    await eachSought(own, count, signal, take);
  } finally {
    own.removeAttribute("src");
    own.load();
    if (video instanceof Blob) URL.revokeObjectURL(address);
  }
}

async function eachImage(
  images: readonly ImageInput[],
  count: number,
  signal: AbortSignal | undefined,
  take: (image: ImageInput, frame: VideoFrameInfo) => Promise<void>,
): Promise<void> {
  if (images.length === 0) throw new CocaError("invalid-argument", "the video has no frames; give at least one image");
  const frames = Math.min(count, images.length);
  for (let index = 0; index < frames; index++) {
    if (signal?.aborted) throw abortError(signal);
    // The middle of each part, as with a video that is sought.
    const image = images[Math.floor(((index + 0.5) * images.length) / frames)];
    if (image !== undefined) await take(image, { index, frames, time: undefined });
  }
}

async function eachSought(
  video: HTMLVideoElement,
  frames: number,
  signal: AbortSignal | undefined,
  take: (image: ImageInput, frame: VideoFrameInfo) => Promise<void>,
): Promise<void> {
  if (video.readyState < HTMLMediaElement.HAVE_METADATA) await event(video, "loadedmetadata", signal);
  const duration = await durationOf(video, signal);
  for (let index = 0; index < frames; index++) {
    const time = ((index + 0.5) * duration) / frames;
    await seek(video, time, signal);
    if (video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) await event(video, "loadeddata", signal);
    await take(video, { index, frames, time });
  }
}

async function durationOf(video: HTMLVideoElement, signal: AbortSignal | undefined): Promise<number> {
  if (Number.isFinite(video.duration)) return video.duration;
  if (!video.srcObject) {
    // Files that a MediaRecorder wrote do not say how long they are; their end is where seeking beyond it leads.
    await seek(video, Number.MAX_SAFE_INTEGER, signal);
    if (Number.isFinite(video.duration)) return video.duration;
  }
  throw new CocaError("invalid-argument", "a live video has no end to space frames over; give its frames as a list of images");
}

/** Shows the frame of a time, in seconds. */
async function seek(video: HTMLVideoElement, time: number, signal: AbortSignal | undefined): Promise<void> {
  if (video.currentTime === time) return;
  // Hidden pages present nothing, and older browsers do not tell.
  const frame = document.hidden || !("requestVideoFrameCallback" in video) ? undefined : presentation(video);
  const sought = event(video, "seeked", signal);
  video.currentTime = time;
  await sought;
  // A browser may say that it has sought before the frame can be read out: until then it hands out the one before.
  if (frame === undefined) await pause(UNTOLD_PATIENCE);
  else await Promise.race([frame, pause(TOLD_PATIENCE)]);
}

/** Settles once a video presents a frame that it seeks from now on. */
async function presentation(video: HTMLVideoElement): Promise<void> {
  const next = (): Promise<boolean> => new Promise((resolve) => video.requestVideoFrameCallback(() => resolve(video.seeking)));
  // While it still seeks it may be the frame before; if not, no other follows.
  if (await next()) await Promise.race([next(), pause(UNTOLD_PATIENCE)]);
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Waits for an event of a video, but not for a broken one. */
function event(video: HTMLVideoElement, name: string, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = new AbortController();
    const settle = (outcome: () => void): void => {
      clearTimeout(timer);
      end.abort();
      outcome();
    };
    const broken = (why: string): void => {
      settle(() => reject(new CocaError("image-decode", `the video cannot be decoded: ${why}`)));
    };
    const timer = setTimeout(() => broken(`no frame came within ${PATIENCE / 1000} s`), PATIENCE);
    const failed = (): void => broken(video.error?.message || "its file is missing, or in a format that is not understood");
    const options = { signal: end.signal };
    video.addEventListener(name, () => settle(resolve), options);
    video.addEventListener("error", failed, options);
    signal?.addEventListener("abort", () => settle(() => reject(abortError(signal))), options);
    if (signal?.aborted) settle(() => reject(abortError(signal)));
    else if (video.error) failed();
  });
}
