/** Opens the camera that looks away from the visitor, where there is a choice. */
export function openCamera(): Promise<MediaStream> {
  // Absent where the page is not served over https.
  const devices: MediaDevices | undefined = navigator.mediaDevices;
  if (devices === undefined)
    return Promise.reject(new DOMException("no camera interface", "NotSupportedError"));
  return devices.getUserMedia({ video: { facingMode: "environment" } });
}

/** Turns the camera off. */
export function closeCamera(stream: MediaStream | undefined): void {
  stream?.getTracks().forEach((track) => track.stop());
}

/** Why there is no camera, and what to do, for the visitor. */
export function cameraProblem(error: unknown): string {
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
