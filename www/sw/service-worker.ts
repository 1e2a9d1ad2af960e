/**
 * Keeps the page on the device, so that it opens without a network. One cache for each version: the files that make the
 * page are there before the version is used, those of the runtime and the small model once they have been needed.
 */
export {};

declare const self: ServiceWorkerGlobalScope;

/** Filled in by `offline-plugin.ts` when the page is built. Addresses are relative to this script. */
const { version, shell, model } = JSON.parse("__FILES__") as {
  version: string;
  shell: string[];
  model: string[];
};

const prefix = "coca-page-";
const absolute = (path: string): string => new URL(path, self.location.href).href;
const cacheName = prefix + version;
const home = absolute("./");
const shellUrls = new Set(shell.map(absolute));
const modelUrls = new Set(model.map(absolute));

self.addEventListener("install", (event) => {
  event.waitUntil(
    caches.open(cacheName).then((cache) =>
      // Past the browser's own cache, which may hold files of the version before.
      cache.addAll([home, ...shellUrls].map((url) => new Request(url, { cache: "no-cache" }))),
    ),
  );
});

self.addEventListener("activate", (event) => {
  event.waitUntil(replaceOldCaches().then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  // A part of a file is none of the answers that are kept here.
  if (request.method !== "GET" || request.headers.has("range")) return;
  const url = new URL(request.url);
  url.hash = "";
  if (request.mode === "navigate") {
    // Settings after the question mark belong to the page, not to the file.
    url.search = "";
    if (url.href === home || url.href === absolute("index.html")) event.respondWith(kept(home, request));
  } else if (shellUrls.has(url.href)) {
    event.respondWith(kept(url.href, request));
  } else if (modelUrls.has(url.href)) {
    event.respondWith(keptOnceUsed(url.href, event));
  }
});

self.addEventListener("message", (event) => {
  if (event.data === "update") void self.skipWaiting();
  // The first visit loads the model before this worker is there.
  if (event.data === "keep-model") {
    event.waitUntil(keepModel().then((whole) => event.source?.postMessage(whole ? "kept" : "not-kept")));
  }
});

async function kept(url: string, request: Request): Promise<Response> {
  const cache = await caches.open(cacheName);
  return (await cache.match(url)) ?? fetch(request);
}

async function keptOnceUsed(url: string, event: FetchEvent): Promise<Response> {
  const cache = await caches.open(cacheName);
  const known = await cache.match(url);
  if (known) return known;
  const response = await fetch(event.request);
  // A full disk must not cost the visitor the answer.
  if (response.status === 200) event.waitUntil(cache.put(url, response.clone()).catch(() => undefined));
  return response;
}

/** Keeps what the first visit has loaded: from the browser's own cache where it is there, else from the network. */
async function keepModel(): Promise<boolean> {
  const cache = await caches.open(cacheName);
  const missing: string[] = [];
  for (const url of modelUrls) {
    if (await cache.match(url)) continue;
    const had = await fetch(url, { cache: "only-if-cached", mode: "same-origin" }).catch(() => undefined);
    if (had?.status === 200) await cache.put(url, had).catch(() => undefined);
    else missing.push(url);
  }
  // There is a runtime for each device, and the one that was not needed is not downloaded either.
  const isRuntime = (url: string): boolean => url.endsWith(".wasm");
  const kept = (await cache.keys()).some(({ url }) => isRuntime(url));
  const wanted = missing.filter((url) => !(kept && isRuntime(url)));
  return Promise.all(wanted.map((url) => cache.add(url))).then(
    () => true,
    () => false,
  );
}

/** Deletes the caches of other versions, after taking over large files that have not changed. */
async function replaceOldCaches(): Promise<void> {
  const cache = await caches.open(cacheName);
  for (const name of await caches.keys()) {
    if (!name.startsWith(prefix) || name === cacheName) continue;
    const old = await caches.open(name);
    for (const url of modelUrls) {
      const response = (await cache.match(url)) ? undefined : await old.match(url);
      if (response) await cache.put(url, response).catch(() => undefined);
    }
    await caches.delete(name);
  }
}
