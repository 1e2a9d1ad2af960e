import { announce, byId } from "../dom";

const prefix = "coca-page-";
const worker = "sw.js";

/** Keeps the page on the device, says when there is no network, and offers a new version instead of forcing it. */
export function watchOffline(): { keepModel(): void } {
  const offline = byId("offline", HTMLParagraphElement);
  const tell = (): void => void (offline.hidden = navigator.onLine);
  addEventListener("online", tell);
  addEventListener("offline", tell);
  tell();

  // Absent without https; and the development server has its own way with files.
  if (!("serviceWorker" in navigator) || !import.meta.env.PROD) return { keepModel: () => undefined };
  const { serviceWorker } = navigator;
  const registered = loaded()
    .then(() => serviceWorker.register(new URL(worker, document.baseURI), { updateViaCache: "none" }))
    .then((registration) => {
      offerUpdates(registration);
      return registration;
    })
    // The page works without, as long as there is a network.
    .catch(() => undefined);
  serviceWorker.addEventListener("message", ({ data }) => {
    if (data === "kept") document.dispatchEvent(new Event("kept-offline"));
  });
  return {
    keepModel: () => {
      void registered.then(async (registration) => {
        if (registration) (await serviceWorker.ready).active?.postMessage("keep-model");
      });
    },
  };
}

/** How many bytes of the page and its small model are kept. */
export async function keptSize(): Promise<number> {
  if (!("caches" in globalThis)) return 0;
  let sum = 0;
  for (const name of await ownCaches()) {
    const cache = await caches.open(name);
    for (const response of await cache.matchAll()) {
      const length = response.headers.has("content-encoding") ? null : response.headers.get("content-length");
      sum += length === null ? (await response.blob()).size : Number(length);
    }
  }
  return sum;
}

/** Whether the service worker has the weights of the small model, so that loading it needs no network. */
export async function keepsModel(): Promise<boolean> {
  if (!("caches" in globalThis) || !navigator.serviceWorker?.controller) return false;
  for (const name of await ownCaches()) {
    const requests = await (await caches.open(name)).keys();
    if (requests.some(({ url }) => url.endsWith(".safetensors"))) return true;
  }
  return false;
}

/** Forgets the page: the next visit loads it from the network again. */
export async function deleteOwn(): Promise<void> {
  await (await navigator.serviceWorker?.getRegistration())?.unregister();
  await Promise.all((await ownCaches()).map((name) => caches.delete(name)));
}

async function ownCaches(): Promise<string[]> {
  return (await caches.keys()).filter((name) => name.startsWith(prefix));
}

/** The page itself comes first. */
function loaded(): Promise<void> {
  return new Promise((resolve) => {
    if (document.readyState === "complete") resolve();
    else addEventListener("load", () => resolve(), { once: true });
  });
}

function offerUpdates(registration: ServiceWorkerRegistration): void {
  const offer = byId("update", HTMLDivElement);
  let accepted = false;
  const show = (): void => {
    // The very first version replaces nothing.
    if (!navigator.serviceWorker.controller || !registration.waiting) return;
    offer.hidden = false;
    announce("A new version of this page is ready.");
  };
  show();
  registration.addEventListener("updatefound", () => {
    registration.installing?.addEventListener("statechange", show);
  });
  byId("update-now", HTMLButtonElement).addEventListener("click", () => {
    accepted = true;
    registration.waiting?.postMessage("update");
  });
  byId("update-later", HTMLButtonElement).addEventListener("click", () => (offer.hidden = true));
  navigator.serviceWorker.addEventListener("controllerchange", () => {
    if (accepted) location.reload();
  });
}
