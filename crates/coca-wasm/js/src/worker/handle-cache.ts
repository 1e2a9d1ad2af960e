/** Keeps the last few values that were made, and frees the one that was not used for longest. */
export class HandleCache<Key, T extends { free(): void }> {
  readonly #capacity: number;
  /** In the order of use: a `Map` iterates in the order of insertion. */
  readonly #values = new Map<Key, T>();

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** The value of `key`, made now if it is not there. */
  async get(key: Key, make: () => Promise<T>): Promise<T> {
    const value = this.#values.get(key) ?? (await make());
    this.#values.delete(key);
    this.#values.set(key, value);
    for (const [oldest, unused] of this.#values) {
      if (this.#values.size <= this.#capacity) break;
      this.#values.delete(oldest);
      unused.free();
    }
    return value;
  }
}
