import { rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { environment } from "./environment";
import { serve } from "./static-server";
import { buildUserApp, buildWithWebpack } from "./user-app";

/** The policy under which the package promises to run. */
export const policy = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "worker-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data: blob:",
  // For the test of a video that is a Blob.
  "media-src blob:",
].join("; ");

/** Builds the user's project, and serves it and the demo page for all tests. */
export default async function setUp(): Promise<() => void> {
  const app = buildUserApp(environment.tarball(), environment.model());
  const user = await serve([app.site], policy);
  const webpack = await serve([await buildWithWebpack(app.folder), app.site], policy);
  // No bundler at all: the package's own files, as they come.
  const plain = await serve([fileURLToPath(new URL("../plain", import.meta.url)), join(app.folder, "node_modules"), app.site], policy);
  // The page brings its own policy.
  const page = await serve([environment.page()], "frame-ancestors 'none'");
  process.env["COCA_TEST_PICTURES"] = app.pictures;
  process.env["COCA_TEST_APP"] = user.address;
  process.env["COCA_TEST_WEBPACK"] = webpack.address;
  process.env["COCA_TEST_PLAIN"] = plain.address;
  process.env["COCA_TEST_SITE"] = app.site;
  process.env["COCA_TEST_PAGE"] = page.address;
  return () => {
    for (const { server } of [user, webpack, plain, page]) server.close();
    rmSync(app.folder, { recursive: true, force: true });
  };
}
