/**
 * The public interface under random calls: nothing traps, what throws is a TypeError or RangeError in the package's
 * own words, a call that throws changes nothing, and one that returns changes only what it was given to change.
 *
 * A slice runs with every test; CALLS=200000 makes that many, SEED starts elsewhere, THREADS=2 has several and a shared memory.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { anyCall, type Call, kinds } from "./calls/calls.js";
import { different, same, World } from "./calls/world.js";
import { load, loadFunctional, type Variant, variants } from "./cases.js";

const CALLS = Number(process.env.CALLS ?? 12_000);
const THREADS = Number(process.env.THREADS ?? 1);
const SEED = Number(process.env.SEED ?? 1);
const PER_RUN = 200;
/** Runs that share one copy of the package: its memory grows, and is not fresh, for most of them. */
const PER_COPY = 20;
/** Little enough that calls often find no room. */
const MOST_MEMORY = 1 << 20;
/** No call on a few hundred values takes longer, on a machine that is busy with other things too. */
const MOST_SECONDS = 5;

const NAMES = [
  ...[
    "BatchNorm",
    "LayerNorm",
    "RMSNorm",
    "GroupNorm",
    "InstanceNorm",
    "Tensor",
    "SGD",
    "AdamW",
    "wasm-norm",
  ],
  ...["moments", "mergeMoments", "normalize", "backwardReduce", "backwardApply", "foldBatchNorm"],
];
const OURS = new RegExp(`^(${NAMES.join("|")})\\b.*: .+`, "s");
/** What the interface answers with a plain Error: the calls come in the wrong order. */
const OUT_OF_ORDER =
  /expected (a (training )?forward (before it|for each backward)|the training forward's|x, but)/;

const CAN_FAIL = [
  "forward",
  "forwardInto",
  "backward",
  "backwardInto",
  "loadStateDict",
  "new layer",
  "functional",
];

function complaint(error: unknown): string | undefined {
  if (error instanceof WebAssembly.RuntimeError) return "trapped";
  if (!(error instanceof Error)) return "threw something that is no error";
  if (!OURS.test(error.message)) return "threw an error that is not the package's own";
  if (error instanceof TypeError || error instanceof RangeError) return;
  if (error.constructor !== Error || !OUT_OF_ORDER.test(error.message))
    return "threw an error of another kind";
}

/** Makes a call and says what was wrong with what it did. */
function judge(world: World, { go, target, changes, done, pranks }: Call, tally: Tally): string | undefined {
  const before = world.look();
  const saved = target && world.probe(target);
  const start = performance.now();
  let result: unknown;
  let error: unknown;
  let threw = false;
  try {
    result = go();
  } catch (thrown) {
    threw = true;
    error = thrown;
  }
  tally[threw ? "threw" : "returned"]++;
  const seconds = (performance.now() - start) / 1000;
  if (seconds > MOST_SECONDS) return `took ${seconds} s`;
  const said = threw ? `, having thrown ${error}` : "";
  const wrong = threw && complaint(error);
  if (wrong) return `${wrong}${said}\n${(error as Error)?.stack}`;
  // what the caller's own code did in the middle is not the call's doing
  if (!pranks.length) {
    const after = world.look();
    const allowed = threw ? [] : world.views.size ? [...changes, "layer ", "tensor "] : changes;
    const changed = different(before, after, (key) => allowed.some((name) => key.startsWith(name)));
    if (changed.length) {
      const [key] = changed;
      return `changed ${changed.join(", ")} (${key}: from ${before.get(key!)} to ${after.get(key!)})${said}`;
    }
    if (threw && target && !same(saved, world.probe(target))) {
      return `changed what backward gives from ${saved} to ${world.probe(target)}${said}`;
    }
  }
  if (!threw) done?.(result);
}

/** How calls of a kind ended: a fuzzer that only ever gets one answer tests nothing. */
interface Tally {
  returned: number;
  threw: number;
}

interface Model {
  calls: number;
}

class Command implements fc.Command<Model, World> {
  readonly name: string;
  readonly given: unknown;

  constructor({ name, given }: { name: string; given: unknown }) {
    this.name = name;
    this.given = given;
  }

  check(): boolean {
    return true;
  }

  run(_: Model, world: World): void {
    made++;
    const tally = (tallies[this.name] ??= { returned: 0, threw: 0 });
    const call = kinds[this.name]!.prepare(world, this.given);
    const wrong = judge(world, call, tally);
    if (wrong) throw new Error(`${this.name} ${wrong}`);
    const kept = world.tensors.filter(({ disposed }) => !disposed).length;
    const { tensors } = world.library.runtimeInfo();
    if (tensors !== kept) throw new Error(`${this.name} left ${tensors} Tensors instead of ${kept}`);
  }

  toString(): string {
    return `\n  ${this.name} ${fc.stringify(this.given)}`;
  }
}

let made = 0;
let tallies: Record<string, Tally> = {};

/** A world for each run; a copy of the package where a run failed may hold anything, and is not used again. */
async function* copies(variant: Variant): AsyncGenerator<World, never, boolean> {
  const { tensor: alienTensor } = await load(variant);
  const alien = alienTensor([4, 4]);
  for (;;) {
    const library = await load();
    await library.init({ variant, maxMemory: MOST_MEMORY, threads: THREADS });
    const functional = await loadFunctional();
    let failed = false;
    for (let run = 0; run < PER_COPY && !failed; run++) failed = yield new World(library, functional, alien);
  }
}

describe.each(variants)("random calls, %s", (variant) => {
  test("each does its work, or says what is wrong with it and changes nothing", {
    timeout: 600_000,
  }, async () => {
    made = 0;
    tallies = {};
    const worlds = copies(variant);
    let failed = false;
    const calls = CALLS / variants.length;
    const property = fc.asyncProperty(
      fc.commands([anyCall.map((recipe) => new Command(recipe))], { maxCommands: PER_RUN, size: "max" }),
      async (commands) => {
        const { value: world } = await worlds.next(failed);
        failed = true;
        try {
          fc.modelRun(() => ({ model: { calls: 0 }, real: world }), commands);
        } finally {
          world.dispose();
        }
        const { bytesInUse, tensors } = world.library.runtimeInfo();
        if (bytesInUse || tensors)
          throw new Error(`${bytesInUse} bytes and ${tensors} Tensors were never given back`);
        failed = false;
      },
    );
    for (let seed = SEED; made < calls; seed++) {
      await fc.assert(property, {
        seed,
        numRuns: Math.max(1, Math.floor(calls / PER_RUN)),
        endOnFailure: false,
      });
    }
    expect(made).toBeGreaterThanOrEqual(calls);
    const share = (name: string) =>
      tallies[name]!.returned / (tallies[name]!.returned + tallies[name]!.threw);
    for (const name in kinds) expect(share(name), name).toBeGreaterThan(0.05);
    for (const name of CAN_FAIL) expect(share(name), name).toBeLessThan(0.95);
  });
});
