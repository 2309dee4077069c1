// Chunks of a stream, one after another, until it ends, fails or is cancelled.
import { readOptions, typeError } from "../errors.js";
import type { Matrix } from "./values.js";

/** A stream of chunks: a ReadableStream, or anything that `for await` walks. */
export type Chunks = ReadableStream<Matrix> | AsyncIterable<Matrix> | Iterable<Matrix>;

/** How far a stream has come. */
export interface StreamProgress {
  /** Chunks read. */
  chunks: number;
  /** Rows in them. */
  rows: number;
}

/** How a long run is watched and stopped. */
export interface StreamOptions {
  /** Stops the run at the next chunk, or while it waits for one. */
  signal?: AbortSignal | undefined;
  /** Is told after each chunk. What it throws stops the run. */
  onProgress?: (progress: StreamProgress) => void;
}

/** Reads signal and progress callback. @throws TypeError */
export function readRun<P>(
  who: string,
  options: unknown,
): { signal: AbortSignal | undefined; onProgress: ((progress: P) => void) | undefined } {
  const { signal, onProgress } = readOptions(who, options, { signal: undefined, onProgress: undefined });
  if (signal !== undefined && typeof (signal as AbortSignal | null)?.throwIfAborted !== "function")
    throw typeError(who, "signal to be an AbortSignal", signal);
  if (onProgress !== undefined && typeof onProgress !== "function")
    throw typeError(who, "onProgress to be a function", onProgress);
  return {
    signal: signal as AbortSignal | undefined,
    onProgress: onProgress as ((progress: P) => void) | undefined,
  };
}

/** What `promise` brings, or the signal's reason if that comes first. */
export async function unlessAborted<T>(
  promise: PromiseLike<T> | T,
  signal: AbortSignal | undefined,
): Promise<T> {
  if (!signal) return promise;
  signal.throwIfAborted();
  let stop!: () => void;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

interface Walker<T> {
  next(): PromiseLike<IteratorResult<T>> | IteratorResult<T>;
  /** Tells the source that no more is wanted. */
  stop(reason: unknown): unknown;
  end(): void;
}

/** An iterator over any kind of stream; not every browser walks a ReadableStream by `for await`. */
function walkerOf<T>(who: string, value: unknown): Walker<T> {
  if (value !== null && value !== undefined) {
    if (typeof (value as ReadableStream<T>).getReader === "function") {
      const reader = (value as ReadableStream<T>).getReader();
      return {
        next: () => reader.read() as Promise<IteratorResult<T>>,
        stop: (reason) => reader.cancel(reason),
        end: () => reader.releaseLock(),
      };
    }
    const many = value as AsyncIterable<T> & Iterable<T>;
    const iterate = many[Symbol.asyncIterator] ?? many[Symbol.iterator];
    if (typeof iterate === "function" && typeof value === "object") {
      const iterator = iterate.call(many) as AsyncIterator<T>;
      return { next: () => iterator.next(), stop: () => iterator.return?.(), end: () => {} };
    }
  }
  throw typeError(who, "a ReadableStream or an iterable of chunks", value);
}

/** Walks a stream; leaves it cancelled unless it ended by itself. */
export async function* walk<T>(
  who: string,
  stream: unknown,
  signal: AbortSignal | undefined,
): AsyncGenerator<T> {
  signal?.throwIfAborted();
  const walker = walkerOf<T>(who, stream);
  let ended = false;
  try {
    for (;;) {
      const result = await unlessAborted(walker.next(), signal);
      if (result.done) {
        ended = true;
        return;
      }
      yield result.value;
    }
  } finally {
    // Not waited for: a source that hangs must not hold the error back.
    if (ended) walker.end();
    else
      Promise.resolve()
        .then(() => walker.stop(signal?.reason))
        .catch(() => {});
  }
}
