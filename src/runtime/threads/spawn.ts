/** Makes workers: Node's threads, or Web Workers from text, or whatever the caller's own factory makes. */
import program from "../../../build/worker.json";
import { READY } from "./control.js";
import type { Start } from "./worker.js";

/** What is used of a Web Worker. */
export interface WebWorker {
  /** Sends a message. */
  postMessage(message: unknown): void;
  /** Ends it. */
  terminate(): void;
  /** Has a listener told of what it sends and what it throws. */
  addEventListener(type: string, listener: (event: { data?: unknown; message?: string }) => void): void;
  /** In Deno and Bun: it no longer keeps the process alive. */
  unref?(): void;
}

/** What is used of a thread of Node's. */
export interface NodeWorker {
  /** Sends a message. */
  postMessage(message: unknown): void;
  /** Ends it. */
  terminate(): Promise<number>;
  /** Has a listener told of what it sends, what it throws, and its end. */
  on(event: "message" | "error" | "exit", listener: (value: unknown) => void): void;
  /** Keeps the process alive as long as it runs. */
  ref(): void;
  /** No longer does. */
  unref(): void;
}

/** A worker, as the platform makes it: a Web Worker, or a `Worker` of node:worker_threads. */
export type AnyWorker = WebWorker | NodeWorker;

/** Where a worker's program comes from: a URL of `wasm-norm/threads-worker`, or what makes a worker of it. */
export type WorkerSource = string | URL | (() => AnyWorker);

/** A worker that runs, or is about to. */
export interface Hand {
  /** Sends it to work. @throws (rejects with) Error if it ends before it has reported */
  start(message: Start): Promise<void>;
  /** Is told when it has ended. */
  onGone(listener: () => void): void;
  end(): Promise<void>;
}

const { process } = globalThis as { process?: { getBuiltinModule?: NodeJS.Process["getBuiltinModule"] } };
// Asked of the process, so that a bundler for browsers finds no module of Node's to look for.
const threads = () => process?.getBuiltinModule?.("node:worker_threads");

type WebConstructor = new (url: string | URL, options?: { type?: "module" | "classic" }) => WebWorker;
const Web = () => (globalThis as { Worker?: WebConstructor }).Worker;

/** Whether there are workers at all. */
export const hasWorkers = (): boolean => threads() !== undefined || Web() !== undefined;

function handOf(worker: AnyWorker): Hand {
  const gone: (() => void)[] = [];
  let report: (error?: Error) => void = () => {};
  const end = (why: string) => {
    report(new Error(why));
    for (const listener of gone) listener();
  };
  const heard = (message: unknown) => {
    if (message === READY) report();
    else end(`${message}`);
  };
  const node = "on" in worker;
  if (node) {
    worker.on("message", heard);
    worker.on("error", (error) => end(`${error}`));
    worker.on("exit", () => end("a worker ended"));
  } else {
    worker.addEventListener("message", ({ data }) => heard(data));
    worker.addEventListener("error", ({ message }) => end(message || "the platform refused a worker"));
    worker.addEventListener("messageerror", () => end("the platform refused to share memory with a worker"));
  }
  return {
    start: (message) =>
      new Promise((resolve, reject) => {
        report = (error) => {
          // From here on it keeps no process alive.
          worker.unref?.();
          if (error) reject(error);
          else resolve();
        };
        worker.postMessage(message);
      }),
    onGone: (listener) => void gone.push(listener),
    end: async () => {
      await worker.terminate();
    },
  };
}

const text = (): string => program.text;

/** The ways to make a worker here, the likeliest first. */
export function makers(source: WorkerSource | undefined): (() => Hand)[] {
  const node = threads();
  const Worker = Web();
  if (typeof source === "function") return [() => handOf(source())];
  if (source !== undefined) {
    return [
      () => {
        if (!node) return handOf(new Worker!(source, { type: "module" }));
        const url = typeof source === "string" && source.includes(":") ? new URL(source) : source;
        return handOf(new node.Worker(url) as NodeWorker);
      },
    ];
  }
  const found: (() => Hand)[] = [];
  // Without the process's own arguments: a loader of the program's is none of this one's business.
  if (node) found.push(() => handOf(new node.Worker(text(), { eval: true, execArgv: [] }) as NodeWorker));
  if (!Worker) return found;
  const web = (url: string, type: "module" | "classic") => handOf(new Worker(url, { type }));
  found.push(() => {
    const url = URL.createObjectURL(new Blob([text()], { type: "text/javascript" }));
    return web(url, "classic");
  });
  found.push(() => web(`data:text/javascript,${encodeURIComponent(text())}`, "module"));
  return found;
}
