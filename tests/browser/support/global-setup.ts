import { rmSync } from "node:fs";
import { environment } from "./environment";
import { serve } from "./static-server";
import { buildUserApp } from "./user-app";

/** The policy under which the package promises to run. */
export const policy = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "worker-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data: blob:",
].join("; ");

/** Builds the user's project, and serves it and the demo page for all tests. */
export default async function setUp(): Promise<() => void> {
  const app = buildUserApp(environment.tarball(), environment.model());
  const user = await serve([app.site], policy);
  // The page brings its own policy.
  const page = await serve([environment.page()], "frame-ancestors 'none'");
  process.env["COCA_TEST_PICTURES"] = app.pictures;
  process.env["COCA_TEST_APP"] = user.address;
  process.env["COCA_TEST_SITE"] = app.site;
  process.env["COCA_TEST_PAGE"] = page.address;
  return () => {
    user.server.close();
    page.server.close();
    rmSync(app.folder, { recursive: true, force: true });
  };
}
