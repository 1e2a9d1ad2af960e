import { abortError, CocaError } from "../error.js";
import { dataUrlBytes, fetchFile } from "./download.js";

/** Downloads and compiles the runtime, both at once where the server names the right type. */
export async function compileWasm(url: string, signal: AbortSignal): Promise<WebAssembly.Module> {
  // Bundlers in library mode make a data: address of everything.
  const inline = dataUrlBytes(url);
  if (inline) return WebAssembly.compile(inline);
  const response = await fetchFile(url, signal);
  if (!response) {
    throw new CocaError("not-found", `${url} does not exist; serve the package's wasm there or set the option \`wasmUrl\``);
  }
  const type = response.headers.get("content-type") ?? "";
  try {
    if (type.startsWith("application/wasm")) return await WebAssembly.compileStreaming(response);
    return await WebAssembly.compile(await response.arrayBuffer());
  } catch (cause) {
    if (signal.aborted) throw abortError(signal);
    const hint = type.startsWith("text/html")
      ? "the server answered with a page: it does not have the file; see the option `wasmUrl`"
      : "the page's policy may lack 'wasm-unsafe-eval' in script-src, or the file is damaged";
    throw new CocaError("worker-failed", `${url} cannot be compiled: ${hint} (${String(cause)})`, { cause });
  }
}
