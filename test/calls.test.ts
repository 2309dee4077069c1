/**
 * The public interface under random calls: nothing traps, what throws is a TypeError or RangeError in the package's
 * own words, a call that throws changes nothing, and one that returns changes only what it was given to change.
 *
 * A slice runs with every test; CALLS=200000 makes that many, SEED starts elsewhere.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { anyCall, type Call, kinds } from "./calls/calls.js";
import { different, same, World } from "./calls/world.js";
import { load, loadFunctional, type Variant, variants } from "./cases.js";

const CALLS = Number(process.env.CALLS ?? 12_000);
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
const OUT_OF_ORDER = /expected (a (training )?forward before it|x, (but|which))/;

function complaint(error: unknown): string | undefined {
  if (error instanceof WebAssembly.RuntimeError) return "trapped";
  if (!(error instanceof Error)) return "threw something that is no error";
  if (!OURS.test(error.message)) return "threw an error that is not the package's own";
  if (error instanceof TypeError || error instanceof RangeError) return;
  if (error.constructor !== Error || !OUT_OF_ORDER.test(error.message))
    return "threw an error of another kind";
}

/** Makes a call and says what was wrong with what it did. */
function judge(world: World, { go, target, changes, done, pranks }: Call): string | undefined {
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
  const seconds = (performance.now() - start) / 1000;
  if (seconds > MOST_SECONDS) return `took ${seconds} s`;
  const said = threw ? `, having thrown ${error}` : "";
  const wrong = threw && complaint(error);
  if (wrong) return `${wrong}${said}\n${(error as Error)?.stack}`;
  // what the caller's own code did in the middle is not the call's doing
  if (!pranks.length) {
    const after = world.look();
    const allowed = threw ? [] : changes;
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
    const call = kinds[this.name]!.prepare(world, this.given);
    const wrong = judge(world, call);
    if (wrong) throw new Error(`${this.name} ${wrong}`);
  }

  toString(): string {
    return `\n  ${this.name} ${fc.stringify(this.given)}`;
  }
}

let made = 0;

async function* copies(variant: Variant) {
  const { tensor: alienTensor } = await load(variant);
  const alien = alienTensor([4, 4]);
  for (;;) {
    const library = await load();
    await library.init({ variant, maxMemory: MOST_MEMORY });
    const functional = await loadFunctional();
    for (let run = 0; run < PER_COPY; run++) yield new World(library, functional, alien);
  }
}

describe.each(variants)("random calls, %s", (variant) => {
  test("each does its work, or says what is wrong with it and changes nothing", {
    timeout: 600_000,
  }, async () => {
    made = 0;
    const worlds = copies(variant);
    const calls = CALLS / variants.length;
    const property = fc.asyncProperty(
      fc.commands([anyCall.map((recipe) => new Command(recipe))], { maxCommands: PER_RUN, size: "max" }),
      async (commands) => {
        const { value } = await worlds.next();
        const world = value as World;
        try {
          fc.modelRun(() => ({ model: { calls: 0 }, real: world }), commands);
        } finally {
          world.dispose();
        }
        const { bytesInUse, tensors } = world.library.runtimeInfo();
        if (bytesInUse || tensors)
          throw new Error(`${bytesInUse} bytes and ${tensors} Tensors were never given back`);
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
  });
});
