import { Allocator } from "./allocator.js";
import { WHO } from "./variant.js";

export const PAGE = 65536;
/** The most that 32 bits can address: 4 GiB. */
export const MOST_BYTES = 65536 * PAGE;

/** The descriptor of a memory. */
export const pagesOf = (initial: number, most: number): { initial: number; maximum: number } => ({
  initial: Math.max(1, Math.ceil(initial / PAGE)),
  maximum: Math.floor(most / PAGE),
});

/** A memory of the package's own: from `initial` bytes on it grows as needed, up to `most`. @throws RangeError if refused */
export function newMemory(initial: number, most: number): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory(pagesOf(initial, most));
  } catch (cause) {
    throw new RangeError(
      `${WHO}: the engine refused a memory that may grow to ${most} bytes and has ${initial} at first; init({ maxMemory, initialMemory }) lowers them`,
      { cause },
    );
  }
}

/** Hands out what is above `base` in a memory of the package's own, which grows for it up to `most` bytes. */
export const allocatorIn = (memory: WebAssembly.Memory, base: number, most: number): Allocator =>
  new Allocator(base, (end) => {
    const pages = Math.ceil(end / PAGE);
    const now = memory.buffer.byteLength / PAGE;
    if (pages <= now) return;
    const mostPages = Math.floor(most / PAGE);
    const refuse = (why: string, cause?: unknown) =>
      new RangeError(`cannot grow to ${pages * PAGE}: ${why}`, { cause });
    if (pages > mostPages) throw refuse(`its maximum is ${mostPages * PAGE}`);
    // Doubling keeps growth rare (each one detaches every view); the exact size is the fallback.
    for (const target of [Math.min(mostPages, Math.max(pages, Math.min(2 * now, now + 1024))), pages]) {
      try {
        memory.grow(target - now);
        return;
      } catch (cause) {
        if (target === pages) throw refuse("the engine refused", cause);
      }
    }
  });
