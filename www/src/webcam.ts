import { byId } from "./dom";
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
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d")?.drawImage(video, 0, 0);
    canvas.toBlob((blob) => {
      dialog.close();
      if (blob) sink.offer(() => readPicture(blob, "camera picture", 'document.querySelector("video")'));
      else sink.refuse("The camera gave no picture. Please try again.");
    });
  });

  async function start(): Promise<void> {
    try {
      // Absent where the page is not served over https.
      const devices: MediaDevices | undefined = navigator.mediaDevices;
      if (devices === undefined) throw new DOMException("no camera interface", "NotSupportedError");
      const opened = await devices.getUserMedia({ video: { facingMode: "environment" } });
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
    stream?.getTracks().forEach((track) => track.stop());
    stream = undefined;
    video.srcObject = null;
    video.hidden = true;
    take.disabled = true;
  }
}

function cameraProblem(error: unknown): string {
  switch (error instanceof DOMException ? error.name : "") {
    case "NotAllowedError":
      return "The browser does not allow this page to use the camera. You can change that beside the address bar.";
    case "NotFoundError":
    case "OverconstrainedError":
      return "No camera was found. Connect one, or choose a file instead.";
    case "NotReadableError":
      return "The camera is in use by another program. Close that program and try again.";
    default:
      return "This browser offers no camera to this page. Choose a file instead.";
  }
}
