/** Rows by tiles: in any order, by anyone, with every epilogue, in place and out of place, the same bits. */
import { describe, expect, test } from "vitest";
import { normals, seeded, variants } from "./cases.js";
import { ACTIVATION, Driver, type Field, readBinary, STEPS, WALK } from "./pass-driver.js";

interface Subject {
  rows: number;
  length: number;
  rms?: boolean;
  relu?: boolean;
  residual?: boolean;
  gamma?: boolean;
  beta?: boolean;
  /** Rows, by number, that leave float32's range, and what they are multiplied by. */
  scales?: Readonly<Record<number, number>>;
}

const shapes = [
  { rows: 1, length: 1 },
  { rows: 5, length: 3 },
  { rows: 4, length: 4 },
  { rows: 33, length: 7 },
  { rows: 300, length: 517 },
  { rows: 19, length: 9001 },
] as const;
const epilogues = [{}, { relu: true }, { residual: true }, { relu: true, residual: true }] as const;
const subjects: Subject[] = shapes.flatMap((shape) =>
  epilogues.flatMap((epilogue) => [
    { ...shape, ...epilogue, gamma: true, beta: true },
    { ...shape, ...epilogue, rms: true, gamma: true },
    { ...shape, ...epilogue, scales: { 0: 1e30, 2: 1e-30, 18: 1e-16 } },
  ]),
);
const label = (subject: Subject) => JSON.stringify(subject);

const drawn = new Map<string, Float32Array>();
/** Normal values, drawn once. */
function values(n: number, seed: number): Float32Array {
  const key = `${n} ${seed}`;
  if (!drawn.has(key)) drawn.set(key, normals(n, seed));
  return drawn.get(key)!;
}

/** Operands of a subject in a driver's memory, and the pass over them. */
function place(driver: Driver, subject: Subject, workers = 1) {
  const { rows, length, scales = {} } = subject;
  const n = rows * length;
  const scaled = (seed: number) => normals(n, seed).map((v, i) => v * (scales[Math.floor(i / length)] ?? 1));
  const at = {
    x: driver.floats(scaled(1)),
    y: driver.take(4 * n),
    dy: driver.floats(values(n, 2)),
    dx: driver.take(4 * n),
    residual: subject.residual ? driver.floats(values(n, 3)) : 0,
    dresidual: subject.residual && subject.relu ? driver.take(4 * n) : 0,
    bits: subject.residual && subject.relu ? driver.take(rows * Math.ceil(length / 4)) : 0,
    gamma: subject.gamma ? driver.floats(values(length, 4)) : 0,
    beta: subject.beta ? driver.floats(values(length, 5)) : 0,
    dgamma: driver.take(8 * length),
    dbeta: driver.take(8 * length),
    ...Object.fromEntries(
      ["mean", "variance", "rstd", "sum1", "sum2"].map((field) => [field, driver.take(8 * rows)]),
    ),
  } satisfies { [field in Field]?: number };
  const pass = driver.pass(
    {
      ...at,
      walk: WALK.ROWS,
      steps: STEPS.REDUCE | STEPS.APPLY | (subject.rms ? STEPS.RMS : 0),
      activation: subject.relu ? ACTIVATION.RELU : ACTIVATION.NONE,
      outer: rows,
      rows: 1,
      groups: 1,
      width: 1,
      length,
      count: length,
      eps: 1e-5,
    },
    workers,
  );
  const results = () => ({
    y: driver.readFloats(at.y, n),
    dx: driver.readFloats(pass.get("dx"), n),
    dresidual: at.dresidual ? driver.readFloats(at.dresidual, n) : new Float32Array(),
    dgamma: driver.readDoubles(at.dgamma, length),
    dbeta: driver.readDoubles(at.dbeta, length),
    rstd: driver.readDoubles(pass.get("rstd"), rows),
  });
  return { at, pass, results, n };
}

type Values = Float32Array | Float64Array;
type Results = Readonly<Record<string, Values>>;

/** Which of these differ by a bit. */
const different = (a: Results, b: Results): string[] =>
  Object.keys(a).filter((name) => {
    const bytes = ({ buffer, byteOffset, byteLength }: Values) => Buffer.from(buffer, byteOffset, byteLength);
    return !bytes(a[name]!).equals(bytes(b[name]!));
  });

/** Numbers 0 to n - 1 in a random order. */
function shuffled(n: number, seed: number): number[] {
  const random = seeded(seed);
  const order = [...Array(n).keys()];
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

/** float64 from the formulas. */
function reference(subject: Subject, at: ReturnType<typeof place>["at"], driver: Driver) {
  const { rows, length, rms, relu } = subject;
  const n = rows * length;
  const [x, dy] = [driver.readFloats(at.x, n), driver.readFloats(at.dy, n)];
  const read = (address: number, size: number, other: number) =>
    address ? driver.readFloats(address, size) : new Float32Array(size).fill(other);
  const gamma = read(at.gamma, length, 1);
  const beta = read(at.beta, length, 0);
  const residual = read(at.residual, n, 0);
  const y = new Float64Array(n);
  const dx = new Float64Array(n);
  const xhats = new Float64Array(n);
  const dgamma = new Float64Array(length);
  const dbeta = new Float64Array(length);
  const size = new Float64Array(length);
  const tolerance = new Float64Array(rows);
  for (let r = 0; r < rows; r++) {
    const row = Array.from(x.subarray(r * length, (r + 1) * length));
    const mean = rms ? 0 : row.reduce((a, b) => a + b, 0) / length;
    const variance = row.reduce((a, b) => a + (b - mean) ** 2, 0) / length;
    const rstd = 1 / Math.sqrt(variance + 1e-5);
    const xhat = row.map((v) => (v - mean) * rstd);
    const g = xhat.map((h, i) => {
      const v = h * gamma[i]! + beta[i]! + residual[r * length + i]!;
      xhats[r * length + i] = h;
      y[r * length + i] = relu ? Math.max(v, 0) : v;
      return relu && v <= 0 ? 0 : dy[r * length + i]!;
    });
    const weighted = g.map((v, i) => v * gamma[i]!);
    const mean1 = rms ? 0 : weighted.reduce((a, b) => a + b, 0) / length;
    const mean2 = weighted.reduce((a, b, i) => a + b * xhat[i]!, 0) / length;
    tolerance[r] = rstd * Math.max(...weighted.map(Math.abs));
    for (let i = 0; i < length; i++) {
      dx[r * length + i] = rstd * (weighted[i]! - mean1 - xhat[i]! * mean2);
      dgamma[i]! += g[i]! * xhat[i]!;
      dbeta[i]! += g[i]!;
      size[i]! += Math.abs(g[i]!) * Math.max(1, Math.abs(xhat[i]!));
    }
  }
  return { y, dx, xhat: xhats, dgamma, dbeta, size, tolerance, gamma, residual };
}

const u = 2 ** -23;

describe.each(variants)("rows by tiles, %s", (variant) => {
  test("each epilogue keeps the contract", () => {
    for (const subject of subjects) {
      const driver = new Driver(variant, { pages: 200 });
      const { at, pass, results, n } = place(driver, subject);
      const want = reference(subject, at, driver);
      pass.forward();
      pass.backward();
      const got = results();
      const beyond: string[] = [];
      const check = (what: string, i: number, off: number, allowed: number) => {
        if (!(off <= allowed)) beyond.push(`${what}[${i}]: ${off / u} u, ${allowed / u} allowed`);
      };
      for (let i = 0; i < n; i++) {
        const row = Math.floor(i / subject.length);
        const terms = Math.abs(want.gamma[i % subject.length]!) * Math.max(1, Math.abs(want.xhat[i]!));
        const allowed = 4 * u * terms + (u / 2) * (Math.abs(want.y[i]!) + Math.abs(want.residual[i]!));
        check("y", i, Math.abs(got.y[i]! - want.y[i]!), allowed);
        const slack = 4 * u * want.tolerance[row]! * Math.max(1, Math.abs(want.xhat[i]!));
        check("dx", i, Math.abs(got.dx[i]! - want.dx[i]!), slack + 2 ** -149);
      }
      for (let i = 0; i < subject.length; i++) {
        check("dgamma", i, Math.abs(got.dgamma[i]! - want.dgamma[i]!), 4 * u * want.size[i]!);
        check("dbeta", i, Math.abs(got.dbeta[i]! - want.dbeta[i]!), 4 * u * want.size[i]!);
      }
      expect(beyond.slice(0, 3), label(subject)).toEqual([]);
    }
  });

  test("tiles in any order, on several instances, give the bits of the whole", () => {
    for (const subject of subjects) {
      const whole = place(new Driver(variant, { pages: 200 }), subject);
      whole.pass.forward();
      whole.pass.backward();
      const tiled = place(new Driver(variant, { pages: 200, instances: 3 }), subject, 3);
      tiled.pass.byTiles(
        "forward",
        (tiles) => shuffled(tiles, 1),
        (i) => i % 3,
      );
      tiled.pass.byTiles(
        "backward",
        (tiles) => shuffled(tiles, 2),
        (i) => (i * 7) % 3,
      );
      expect(different(whole.results(), tiled.results()), label(subject)).toEqual([]);
    }
  });

  test("in place: dx over dy, y over x and y over the residual", () => {
    for (const subject of subjects) {
      const apart = place(new Driver(variant, { pages: 200 }), subject);
      apart.pass.forward();
      apart.pass.backward();
      const { y, ...gradients } = apart.results();

      const driver = new Driver(variant, { pages: 200 });
      const { at, pass, results, n } = place(driver, subject);
      pass.forward();
      pass.set("dx", at.dy);
      pass.backward();
      expect(different(gradients, results()), label(subject)).toEqual([]);

      for (const over of ["x", "residual"] as const) {
        if (!at[over]) continue;
        const other = place(new Driver(variant, { pages: 200 }), subject);
        other.pass.set("y", other.at[over]);
        other.pass.forward();
        expect(
          different({ y }, { y: other.pass.driver.readFloats(other.at[over], n) }),
          label(subject),
        ).toEqual([]);
      }
    }
  });

  test("a row's bits do not depend on the others", () => {
    for (const length of [3, 64, 517]) {
      const subject = { rows: 40, length, gamma: true, beta: true, scales: { 3: 1e30 } };
      const all = place(new Driver(variant, { pages: 50 }), subject);
      all.pass.forward();
      all.pass.backward();
      const want = all.results();
      for (const row of [0, 3, 4, 39]) {
        const skip = 4 * row * length;
        const one = place(new Driver(variant, { pages: 50 }), subject);
        one.pass.set("outer", 1);
        for (const field of ["x", "y", "dy", "dx"] as const) one.pass.set(field, one.pass.get(field) + skip);
        one.pass.driver.kernels[0]!.plan(one.pass.address);
        one.pass.forward();
        one.pass.backward();
        const got = (name: "y" | "dx") => one.pass.driver.readFloats(one.pass.get(name), length);
        expect(got("y")).toEqual(want.y.slice(row * length, (row + 1) * length));
        expect(got("dx")).toEqual(want.dx.slice(row * length, (row + 1) * length));
      }
    }
  });

  test("a tile touches its own rows of y and dx alone", () => {
    const { at, pass, results, n } = place(new Driver(variant, { pages: 100 }), {
      rows: 300,
      length: 517,
      gamma: true,
    });
    const { driver } = pass;
    driver.f32.fill(7, at.y / 4, at.y / 4 + n);
    const tiles = pass.get("forwardTiles");
    expect(tiles).toBeGreaterThan(2);
    const from = pass.get("tileRows") * 517;
    const kernels = driver.kernels[0]!;
    kernels.begin(pass.address, 0);
    kernels.tile(pass.address, 0, 1, 0);
    const { y } = results();
    expect(y.subarray(0, from).every((v) => v === 7)).toBe(true);
    expect(y.subarray(from, 2 * from).some((v) => v === 7)).toBe(false);
    expect(y.subarray(2 * from).every((v) => v === 7)).toBe(true);
  });
});

/** Numbers of the functions that a binary's code calls, by caller: read from its sections. */
test.each(variants)("leaves stay functions of their own, %s", async (variant) => {
  const { default: binaryen } = await import("binaryen");
  const module = binaryen.readBinary(readBinary(variant));
  const text = module.emitText();
  module.dispose();
  const functions = text.split("\n (func ").slice(1);
  // What has a loop over vectors and makes no call is a leaf; a row's are seven and more.
  const leaves = functions.filter(
    (code) => /\(loop/.test(code) && /v128\.store|f64x2\.add/.test(code) && !/\(call /.test(code),
  );
  expect(leaves.length).toBeGreaterThanOrEqual(10);
});
