// The service's state: this instance's own statistics, and the latest heard of others. Each instance changes its own
// alone, so that together they are the sum over instances, whatever was lost or repeated on the way.
import { StandardScaler } from "wasm-norm/scaler";
import type { Snapshot, Store } from "./store.ts";

interface Waiting {
  x: Float32Array;
  key: string | undefined;
  resolve(added: boolean): void;
  reject(error: Error): void;
}

export class Standardizer {
  readonly features: number;
  readonly #store: Store;
  readonly #known = new Map<string, Snapshot>();
  /** Called with this instance's own, after each write. */
  onChange: (own: Snapshot) => void = () => {};
  /** How many minibatches were written together, each time. */
  onCommit: (minibatches: number) => void = () => {};
  #total: StandardScaler | undefined;
  #waiting: Waiting[] = [];

  constructor(store: Store, features: number) {
    this.#store = store;
    this.features = features;
    for (const snapshot of store.snapshots()) this.#known.set(snapshot.instance, snapshot);
  }

  /** This instance's own statistics. */
  get own(): Snapshot {
    const { instance } = this.#store;
    return this.#known.get(instance) ?? { instance, version: 0, scaler: new StandardScaler(this.features) };
  }

  /** All instances' statistics together, the same bits on each that knows the same. */
  get total(): StandardScaler {
    const all = [...this.#known.values()].sort((a, b) => (a.instance < b.instance ? -1 : 1));
    this.#total ??= all.reduce((sum, { scaler }) => sum.merge(scaler), new StandardScaler(this.features));
    return this.#total;
  }

  /**
   * Adds rows, and tells when they are on the disk: minibatches that come at the same time are written together.
   *
   * @returns false where a minibatch of that key was in already
   */
  partialFit(x: Float32Array, key?: string): Promise<boolean> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.length === 0) setImmediate(() => this.#commit());
      this.#waiting.push({ x, key, resolve, reject });
    });
  }

  transform(x: Float32Array): Float32Array {
    return this.total.transform(x);
  }

  #commit(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    const keys = new Set<string>();
    const fresh = waiting.map(({ key }) => {
      if (key === undefined) return true;
      if (keys.has(key) || this.#store.has(key)) return false;
      keys.add(key);
      return true;
    });
    try {
      const { instance, version, scaler } = this.own;
      // A copy: what is on the disk and what is in memory change together, or neither does.
      const next = new StandardScaler(this.features).merge(scaler);
      waiting.forEach(({ x }, i) => {
        if (fresh[i]) next.partialFit(x);
      });
      const snapshot = { instance, version: version + 1, scaler: next };
      if (fresh.some(Boolean)) {
        this.#store.write(snapshot, [...keys]);
        this.#take(snapshot);
        this.onChange(snapshot);
        this.onCommit(fresh.filter(Boolean).length);
      }
    } catch (error) {
      for (const { reject } of waiting) reject(error as Error);
      return;
    }
    waiting.forEach(({ resolve }, i) => {
      resolve(fresh[i]!);
    });
  }

  /** Takes what another instance says of itself, if it is news. */
  hear(snapshot: Snapshot): void {
    if (snapshot.instance === this.#store.instance) return;
    if (snapshot.version <= (this.#known.get(snapshot.instance)?.version ?? 0)) return;
    this.#store.write(snapshot);
    this.#take(snapshot);
  }

  #take(snapshot: Snapshot): void {
    this.#known.set(snapshot.instance, snapshot);
    this.#total = undefined;
  }
}
