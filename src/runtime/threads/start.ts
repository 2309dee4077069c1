/**
 * Threads as `init` starts them: a memory that they share, and a team of workers over it. Who does not import `init` does not bundle
 * this. A dynamic import would spare the others 4 kB, too, but Rollup refuses to write one file of a program that has any.
 */
import type { Launch } from "../instance.js";
import { sharing } from "../shared.js";
import { type Code, isModule } from "../variant.js";
import { LIMITS } from "./limits.js";
import { type Hand, hasWorkers, makers } from "./spawn.js";
import { Team } from "./team.js";

/** Parts of a runtime: those of a memory that is shared, or why there is none. */
export interface Shared {
  code: Code;
  memory: WebAssembly.Memory | undefined;
  launch: Launch | undefined;
  reason: string | undefined;
}

const ISOLATION =
  "the page is not cross-origin isolated: it has to be served with the headers Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp";

/** Why nothing can be shared here; undefined if it can. */
function obstacle(code: Code): string | undefined {
  // A page without isolation may have the constructor, but sends none.
  if ((globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated === false) return ISOLATION;
  if (typeof SharedArrayBuffer !== "function") return "there is no SharedArrayBuffer here";
  if (!hasWorkers()) return "there are no workers here";
  if (isModule(code)) return "a compiled module has a memory of its own: give init the bytes, or a URL";
  return undefined;
}

/** A memory that threads share, and the binary for it; where that cannot be had, the binary as it was and a reason. */
export async function share(code: Code, pages: { initial: number; maximum: number }): Promise<Shared> {
  let reason = obstacle(code);
  if (reason === undefined) {
    try {
      const memory = new WebAssembly.Memory({ ...pages, shared: true });
      const module = await WebAssembly.compile(sharing(code as BufferSource) as Uint8Array<ArrayBuffer>);
      return { code: module, memory, launch: launcher(module, memory), reason };
    } catch (error) {
      reason = describe(error);
    }
  }
  return { code, memory: undefined, launch: undefined, reason };
}

/** Starts `threads - 1` workers over a runtime's memory, and waits for those that report in time. */
const launcher =
  (module: WebAssembly.Module, memory: WebAssembly.Memory): Launch =>
  async (held, threads, source) => {
    const team = new Team(held);
    const ways = makers(source);
    const one = async (): Promise<void> => {
      for (const make of ways) {
        let hand: Hand | undefined;
        const worker = team.reserve();
        try {
          hand = make();
          const start = { module, memory, words: team.words, worker, spinMs: LIMITS.spinMs };
          await inTime(hand.start(start));
          team.add(worker, hand);
          return;
        } catch (error) {
          team.reason = describe(error);
          void hand?.end();
          // Another way would be as late.
          if (error instanceof Late) return;
        }
      }
    };
    await Promise.all(Array.from({ length: threads - 1 }, one));
    if (team.threads === threads) team.reason = undefined;
    return team;
  };

const describe = (error: unknown): string => (error instanceof Error ? error.message : String(error));

class Late extends Error {}

async function inTime(reported: Promise<void>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Late(`a worker did not report within ${LIMITS.startMs} ms`)),
      LIMITS.startMs,
    );
  });
  try {
    await Promise.race([reported, late]);
  } finally {
    clearTimeout(timer);
  }
}
