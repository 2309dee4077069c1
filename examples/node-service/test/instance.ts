// A service as a process of its own.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../main.ts", import.meta.url));
export const FEATURES = 4;

const started = new Set<Instance>();
export const killAll = (): Promise<unknown> => Promise.all([...started].map((instance) => instance.kill()));

export class Instance {
  readonly process: ChildProcess;
  readonly url: string;
  stderr = "";

  private constructor(process: ChildProcess, url: string) {
    this.process = process;
    this.url = url;
    process.stderr!.on("data", (text) => {
      this.stderr += text;
    });
  }

  static async start(store: string, environment: Record<string, string> = {}): Promise<Instance> {
    const child = spawn(process.execPath, ["--import", "tsx", MAIN], {
      env: { ...process.env, PORT: "0", STORE: store, FEATURES: String(FEATURES), ...environment },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let said = "";
    child.stderr!.on("data", (text) => {
      said += text;
    });
    for await (const line of createInterface({ input: child.stdout! })) {
      const instance = new Instance(child, line);
      started.add(instance);
      return instance;
    }
    throw new Error(said);
  }

  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<number | null> {
    started.delete(this);
    if (this.process.exitCode !== null || this.process.signalCode !== null) return this.process.exitCode;
    const ended = once(this.process, "exit");
    this.process.kill(signal);
    return (await ended)[0] as number | null;
  }

  post(
    path: string,
    type: string | undefined,
    body?: string | Uint8Array,
    headers: Record<string, string> = {},
  ) {
    return fetch(this.url + path, {
      method: "POST",
      headers: { ...(type && { "content-type": type }), ...headers },
      ...(body !== undefined && { body: body as BodyInit }),
    });
  }

  async get<T>(path: string): Promise<T> {
    return (await (await fetch(this.url + path)).json()) as T;
  }

  statistics() {
    return this.get<{ count: number; mean: number[]; variance: number[] }>("/statistics");
  }
}

export const raw = (values: ArrayLike<number>): Uint8Array =>
  new Uint8Array(Float32Array.from(values).buffer);

/** Rows of sixteenths, exact in float32; each column about another mean. */
export const rowsOf = (count: number, seed: number): Float32Array =>
  Float32Array.from(
    { length: count * FEATURES },
    (_, i) => 1000 * (i % FEATURES) + ((i * 7 + seed * 13 + (i >> 2)) % 17) / 16,
  );

/** Mean and biased variance, two passes in float64. */
export function formulas(x: Float32Array): { count: number; mean: number[]; variance: number[] } {
  const count = x.length / FEATURES;
  const columns = Array.from({ length: FEATURES }, (_, c) =>
    Array.from(x).filter((_, i) => i % FEATURES === c),
  );
  const mean = columns.map((values) => values.reduce((a, b) => a + b, 0) / count);
  const variance = columns.map((values, c) => values.reduce((a, b) => a + (b - mean[c]!) ** 2, 0) / count);
  return { count, mean, variance };
}
