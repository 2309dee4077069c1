// What must not be lost, in SQLite: this instance's statistics, those it has heard of other instances, and the keys of
// the minibatches that are in. A write is on the disk before anyone is told.
import { randomUUID } from "node:crypto";
import Database from "better-sqlite3";
import { StandardScaler } from "wasm-norm/scaler";

/** An instance's statistics; a higher version has all that a lower one has. */
export interface Snapshot {
  instance: string;
  version: number;
  scaler: StandardScaler;
}

/** @throws TypeError, RangeError unless this is the state of a scaler of so many features that forgets nothing */
export function readScaler(state: unknown, features: number): StandardScaler {
  // Merging refuses another number of features and a half-life, and leaves the state's other settings behind.
  return new StandardScaler(features).merge(StandardScaler.fromJSON(state));
}

/** As many keys are remembered. */
const KEYS = 100_000;

export class Store {
  readonly instance: string;
  readonly #database: Database.Database;
  readonly #features: number;

  /** @throws Error where the file is of another number of features, or damaged */
  constructor(file: string, features: number) {
    this.#features = features;
    const database = new Database(file);
    this.#database = database;
    database.pragma("journal_mode = WAL");
    // An acknowledged write survives a power failure, not only a crash of the process.
    database.pragma("synchronous = FULL");
    database.exec(`
      CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
      CREATE TABLE IF NOT EXISTS snapshots
        (instance TEXT PRIMARY KEY, version INTEGER NOT NULL, state TEXT NOT NULL) STRICT;
      CREATE TABLE IF NOT EXISTS keys (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE) STRICT;
    `);
    this.instance = this.#setting("instance", randomUUID());
    const known = this.#setting("features", String(features));
    if (known !== String(features))
      throw new Error(`${file} has statistics of ${known} features, not ${features}`);
    this.snapshots();
  }

  #setting(name: string, fallback: string): string {
    this.#database.prepare("INSERT OR IGNORE INTO settings VALUES (?, ?)").run(name, fallback);
    const row = this.#database.prepare("SELECT value FROM settings WHERE name = ?").get(name);
    return (row as { value: string }).value;
  }

  /** All that is known, in the order of instances. @throws Error where the file holds what are no statistics */
  snapshots(): Snapshot[] {
    const rows = this.#database.prepare("SELECT * FROM snapshots ORDER BY instance").all();
    return (rows as { instance: string; version: number; state: string }[]).map(
      ({ instance, version, state }) => ({
        instance,
        version,
        scaler: readScaler(JSON.parse(state), this.#features),
      }),
    );
  }

  /** Whether a minibatch of that key is in already. */
  has(key: string): boolean {
    return this.#database.prepare("SELECT 1 FROM keys WHERE key = ?").get(key) !== undefined;
  }

  /** Writes a snapshot, and the keys of the minibatches that came into it, all or nothing. */
  write({ instance, version, scaler }: Snapshot, keys: readonly string[] = []): void {
    const database = this.#database;
    database.transaction(() => {
      database
        .prepare("INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?)")
        .run(instance, version, JSON.stringify(scaler));
      for (const key of keys) database.prepare("INSERT OR IGNORE INTO keys (key) VALUES (?)").run(key);
      database.prepare("DELETE FROM keys WHERE id <= (SELECT MAX(id) FROM keys) - ?").run(KEYS);
    })();
  }

  close(): void {
    this.#database.close();
  }
}
