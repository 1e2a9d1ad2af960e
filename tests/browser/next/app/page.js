import { CoCa } from "coca-wasm";
import { Classification } from "./classification.js";

/** Rendered on the server, where the package is imported and asked what it can do. */
export default async function Page() {
  const { webgpu } = await CoCa.isSupported();
  return (
    <main>
      <p id="server">{webgpu ? "WebGPU" : "no WebGPU"} on the server</p>
      <Classification image="pictures/red-circle.png" />
    </main>
  );
}
