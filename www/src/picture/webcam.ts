import { byId } from "../dom";
import { cameraProblem, closeCamera, openCamera } from "./camera";
import { frameBlob } from "./frame-blob";
import type { PictureSink } from "./image-input";
import { readPicture } from "./picture";

/** Wires the camera dialog: one photo, then the camera is off again. */
export function watchWebcam(sink: PictureSink): void {
  const dialog = byId("webcam", HTMLDialogElement);
  const video = byId("webcam-video", HTMLVideoElement);
  const status = byId("webcam-status", HTMLParagraphElement);
  const take = byId("webcam-take", HTMLButtonElement);
  const waiting = status.textContent;
  let stream: MediaStream | undefined;

  byId("webcam-open", HTMLButtonElement).addEventListener("click", () => {
    status.textContent = waiting;
    dialog.showModal();
    void start();
  });
  byId("webcam-close", HTMLButtonElement).addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", stop);
  take.addEventListener("click", () => {
    void frameBlob(video).then((blob) => {
      dialog.close();
      if (blob) sink.offer(() => readPicture(blob, "camera picture", 'document.querySelector("video")'));
      else sink.refuse("The camera gave no picture. Please try again.");
    });
  });

  async function start(): Promise<void> {
    try {
      const opened = await openCamera();
      stream = opened;
      if (!dialog.open) return stop();
      video.srcObject = opened;
      await video.play();
      video.hidden = false;
      take.disabled = false;
      status.textContent = "The picture stays in this page.";
      take.focus();
    } catch (error) {
      if (dialog.open) status.textContent = cameraProblem(error);
    }
  }

  function stop(): void {
    closeCamera(stream);
    stream = undefined;
    video.srcObject = null;
    video.hidden = true;
    take.disabled = true;
  }
}
