/** A pass over columns or runs by its tiles, in any order and by any thread: the bits of the whole in one go. */
import { beforeAll, describe, expect, test } from "vitest";
import { normals, seeded, variants } from "./cases.js";
import { ACTIVATION, Driver, STEPS, WALK } from "./pass-driver.js";

interface Extents {
  walk: number;
  outer: number;
  rows: number;
  groups: number;
  width: number;
  length: number;
}

const columns = (outer: number, rows: number, groups: number, width = 1): Extents => ({
  walk: WALK.COLUMNS,
  outer,
  rows,
  groups,
  width,
  length: 1,
});
const runs = (outer: number, rows: number, groups: number, width: number, length: number): Extents => ({
  walk: WALK.RUNS,
  outer,
  rows,
  groups,
  width,
  length,
});

/** Every family, each with small examples, several tiles, tails; the last of the columns are far (a quarter apart). */
const shapes: Record<string, Extents> = {
  "batch norm of one tile": columns(1, 33, 20),
  "batch norm, rows side by side": columns(1, 6007, 24),
  "batch norm, odd columns": columns(1, 9001, 13),
  "batch norm, wide": columns(1, 300, 1001),
  "batch norm, far": columns(1, 5003, 272),
  "batch norm, far with lanes": columns(1, 13001, 102),
  "group norm, small examples": columns(37, 49, 4, 15),
  "group norm, split examples": columns(2, 1500, 8, 12),
  "instance norm, small examples": columns(21, 100, 33),
  "instance norm, split examples": columns(3, 3001, 35),
  "batch norm channels-first": runs(1, 9, 70, 1, 333),
  "group norm channels-first, small examples": runs(23, 1, 3, 5, 131),
  "group norm channels-first, split examples": runs(2, 1, 6, 4, 10007),
  "instance norm channels-first": runs(11, 1, 33, 1, 50),
};

const epilogues = ["none", "relu", "residual", "residual + relu"] as const;

/** A shuffled order of tiles. */
function shuffled(random: () => number): (tiles: number) => number[] {
  return (tiles) => {
    const order = Array.from({ length: tiles }, (_, i) => i);
    for (let i = tiles - 1; i > 0; i--) {
      const j = Math.floor(random() * (i + 1));
      [order[i], order[j]] = [order[j]!, order[i]!];
    }
    return order;
  };
}

describe.each(variants)("tiles of columns and runs, %s", (variant) => {
  let x: Float32Array;
  let gradient: Float32Array;
  beforeAll(() => {
    x = normals(1 << 21, 11);
    gradient = normals(1 << 21, 12);
  });

  /** Runs a pass forward and backward, whole or by tiles, and gives all that it writes. */
  function run(
    extents: Extents,
    epilogue: (typeof epilogues)[number],
    byTiles: boolean,
    steps = 0,
    masked = false,
  ) {
    const workers = byTiles ? 3 : 1;
    const driver = new Driver(variant, { instances: workers, pages: 1600 });
    const { outer, rows, groups, width, length } = extents;
    const n = outer * rows * groups * width * length;
    const channels = groups * width;
    const statistics = outer * groups;
    const room = (count: number) => 8 * (count + 32);
    const values = x.slice(0, n);
    // Columns of large means, whose coefficients need their low halves.
    for (let i = 0; i < n; i++) if (Math.floor(i / length) % channels === 1) values[i]! += 1e5;
    const relu = epilogue.includes("relu");
    const residual = epilogue.startsWith("residual");
    const doubles = () => driver.take(room(statistics));
    const pairs = masked ? [0, Math.floor(rows * 0.3), Math.floor(rows * 0.4), rows - 3] : undefined;
    const counted = pairs ? pairs[1]! - pairs[0]! + pairs[3]! - pairs[2]! : rows;
    const segments = driver.take(64);
    if (pairs) new Uint32Array(driver.memory.buffer, segments, 4).set(pairs);
    const dx = driver.floats(gradient.subarray(0, n));
    const fields = {
      ...extents,
      steps: STEPS.REDUCE | STEPS.APPLY | STEPS.OWN | steps,
      activation: relu ? ACTIVATION.RELU : ACTIVATION.NONE,
      count: counted * width * length,
      eps: 1e-5,
      segments: pairs ? segments : 0,
      segmentCount: pairs ? 2 : 0,
      x: driver.floats(values),
      y: driver.take(4 * n),
      dy: dx,
      dx,
      residual: residual ? driver.floats(gradient.subarray(0, n)) : 0,
      bits: residual && relu ? driver.take(n + 64) : 0,
      gamma: driver.floats(gradient.subarray(7, 7 + channels + 32)),
      beta: driver.floats(x.subarray(7, 7 + channels + 32)),
      dgamma: driver.take(room(channels)),
      dbeta: driver.take(room(channels)),
      mean: doubles(),
      variance: doubles(),
      rstd: doubles(),
      sum1: doubles(),
      sum2: doubles(),
    };
    const pass = driver.pass(fields, workers);
    const random = seeded(5);
    if (byTiles) pass.byTiles("forward", shuffled(random), (tile) => tile % workers);
    else pass.forward();
    const dresidual = driver.take(4 * n);
    if (residual) pass.set("residual", 0);
    if (residual && relu) pass.set("dresidual", dresidual);
    const forward = {
      tiles: pass.get("forwardTiles"),
      y: driver.readFloats(fields.y, n),
      mean: driver.readDoubles(fields.mean, statistics),
      variance: driver.readDoubles(fields.variance, statistics),
      rstd: driver.readDoubles(fields.rstd, statistics),
    };
    if (byTiles) pass.byTiles("backward", shuffled(random), (tile) => tile % workers);
    else pass.backward();
    return {
      ...forward,
      dx: driver.readFloats(dx, n),
      dresidual: driver.readFloats(dresidual, n),
      dgamma: driver.readDoubles(fields.dgamma, channels),
      dbeta: driver.readDoubles(fields.dbeta, channels),
      sum1: driver.readDoubles(fields.sum1, statistics),
      sum2: driver.readDoubles(fields.sum2, statistics),
    };
  }

  /** Compares bytes, as arrays of a million values would take an assertion seconds. */
  function expectSame(a: ReturnType<typeof run>, b: ReturnType<typeof run>): void {
    for (const [name, values] of Object.entries(a)) {
      if (typeof values === "number") continue;
      const other = b[name as keyof typeof b] as Float32Array | Float64Array;
      const same = Buffer.compare(
        Buffer.from(values.buffer, values.byteOffset, values.byteLength),
        Buffer.from(other.buffer, other.byteOffset, other.byteLength),
      );
      expect(same, name).toBe(0);
    }
  }

  test.each(Object.keys(shapes))("%s", (name) => {
    for (const epilogue of epilogues) {
      const whole = run(shapes[name]!, epilogue, false);
      expect(whole.y.every(Number.isFinite) && whole.dx.some((value) => value !== 0)).toBe(true);
      expectSame(whole, run(shapes[name]!, epilogue, true));
    }
  });

  test("statistics about 0, and given ones", () => {
    for (const name of [
      "batch norm, far",
      "group norm, split examples",
      "group norm channels-first, small examples",
    ]) {
      for (const steps of [STEPS.RMS, STEPS.EXACTLY]) {
        expectSame(run(shapes[name]!, "none", false, steps), run(shapes[name]!, "none", true, steps));
      }
    }
  });

  test("rows that alone take part", () => {
    for (const name of ["batch norm, rows side by side", "batch norm, wide", "batch norm, far"]) {
      const whole = run(shapes[name]!, "relu", false, 0, true);
      expectSame(whole, run(shapes[name]!, "relu", true, 0, true));
    }
  });

  test("a large pass has tiles for several threads, a small one has one", () => {
    expect(run(shapes["batch norm, far"]!, "none", false).tiles).toBeGreaterThanOrEqual(8);
    expect(run(shapes["batch norm of one tile"]!, "none", false).tiles).toBe(1);
    expect(run(columns(1, 256, 1024), "none", false).tiles).toBe(4);
  });
});
