/** The part of the Cache API that is used, in memory; see {@link FakeCaches.full}. */
export class FakeCaches {
  readonly entries = new Map<string, { body: Uint8Array<ArrayBuffer>; headers: Headers }>();
  /** From now on storage is full. */
  full = false;

  async open(): Promise<Cache> {
    return {
      match: async (url: string) => {
        const entry = this.entries.get(url);
        return entry && new Response(entry.body.slice(), { headers: entry.headers });
      },
      put: async (url: string, response: Response) => {
        if (this.full) throw new DOMException("no room", "QuotaExceededError");
        this.entries.set(url, { body: new Uint8Array(await response.arrayBuffer()), headers: response.headers });
      },
      delete: async (url: string) => this.entries.delete(url),
      keys: async () => [...this.entries.keys()].map((url) => new Request(url)),
    } as unknown as Cache;
  }

  async delete(): Promise<boolean> {
    this.entries.clear();
    return true;
  }

  /** The addresses of the stored pieces. */
  pieces(): string[] {
    return [...this.entries.keys()].filter((url) => /coca-wasm-cache=\d+/.test(url));
  }
}
