/** StandardScaler on streams, and what it refuses. */
import { describe, expect, test } from "vitest";
import { loadSafetensors, saveSafetensors } from "../src/safetensors.js";
import { StandardScaler } from "../src/scaler.js";
import { uniforms } from "./scaler-reference.js";

const C = 3;
const u = uniforms(5);
const chunks = Array.from({ length: 9 }, (_, i) => Float32Array.from({ length: (i + 1) * C }, () => 5 + u()));
const whole = new StandardScaler(C);
for (const chunk of chunks) whole.partialFit(chunk);

const streamOf = (values: unknown[], cancelled?: (reason: unknown) => void) => {
  const left = [...values];
  return new ReadableStream<Float32Array>({
    pull(controller) {
      const next = left.shift();
      if (next instanceof Error) controller.error(next);
      else if (next) controller.enqueue(next as Float32Array);
      else controller.close();
    },
    cancel: (reason) => cancelled?.(reason),
  });
};

function expectNear(got: StandardScaler, want: StandardScaler) {
  expect(got.count).toEqual(want.count);
  for (let j = 0; j < C; j++) {
    expect(got.mean[j]).toBeCloseTo(want.mean[j]!, 13);
    expect(got.variance[j]).toBeCloseTo(want.variance[j]!, 13);
  }
}

describe("fitStream", () => {
  test("a ReadableStream, an async iterable, an array", async () => {
    async function* generated() {
      yield* chunks;
    }
    for (const stream of [streamOf(chunks), generated(), chunks]) {
      const progress: unknown[] = [];
      const scaler = new StandardScaler(C);
      expect(await scaler.fitStream(stream, { onProgress: (p) => progress.push(p) })).toBe(scaler);
      expectNear(scaler, whole);
      expect(progress.at(-1)).toEqual({ chunks: 9, rows: 45 });
      expect(progress.length).toBe(9);
    }
  });

  test("adds to what was there, and several may run at once", async () => {
    const scaler = new StandardScaler(C).partialFit(chunks[0]!);
    await Promise.all([
      scaler.fitStream(streamOf(chunks.slice(1, 4))),
      scaler.fitStream(streamOf(chunks.slice(4))),
    ]);
    expectNear(scaler, whole);
  });

  test("with a half-life: what was there ages by the stream's rows", async () => {
    const want = new StandardScaler(C, { halfLife: 4 });
    for (const chunk of chunks) want.partialFit(chunk);
    const scaler = new StandardScaler(C, { halfLife: 4 }).partialFit(chunks[0]!);
    await scaler.fitStream(streamOf(chunks.slice(1)));
    for (let j = 0; j < C; j++) {
      expect(scaler.mean[j]).toBeCloseTo(want.mean[j]!, 13);
      expect(scaler.variance[j]).toBeCloseTo(want.variance[j]!, 13);
      expect(scaler.count[j]).toBeCloseTo(want.count[j]!, 13);
    }
  });

  test("a stream that fails, or brings what does not fit, changes nothing", async () => {
    const before = whole.toJSON();
    await expect(whole.fitStream(streamOf([chunks[0], new Error("broken pipe")]))).rejects.toThrow(
      "broken pipe",
    );
    let reason: unknown = "not cancelled";
    const odd = streamOf([chunks[0], Float32Array.of(1, 2), chunks[1]], (why) => {
      reason = why;
    });
    await expect(whole.fitStream(odd)).rejects.toThrow("to have rows of 3 values");
    expect(reason).toBeUndefined();
    await expect(whole.fitStream(7 as unknown as Float32Array[])).rejects.toThrow(
      "StandardScaler.fitStream: expected a ReadableStream or an iterable of chunks, got 7",
    );
    expect(whole.toJSON()).toEqual(before);
  });

  test("a signal stops it, also while it waits for a chunk, and cancels the stream", async () => {
    const before = whole.toJSON();
    const abort = new AbortController();
    const stop = new Error("enough");
    let cancelledWith: unknown;
    const endless = new ReadableStream<Float32Array>({
      start: (controller) => controller.enqueue(chunks[0]!),
      cancel: (reason) => {
        cancelledWith = reason;
      },
    });
    const run = whole.fitStream(endless, {
      signal: abort.signal,
      onProgress: () => setTimeout(() => abort.abort(stop), 5),
    });
    await expect(run).rejects.toBe(stop);
    await new Promise((resolve) => setTimeout(resolve));
    expect(cancelledWith).toBe(stop);
    await expect(whole.fitStream(chunks, { signal: abort.signal })).rejects.toBe(stop);
    expect(whole.toJSON()).toEqual(before);
  });
});

describe("transformStream", () => {
  const collect = async (stream: ReadableStream<unknown>) => {
    const found: unknown[] = [];
    const reader = stream.getReader();
    for (let next = await reader.read(); !next.done; next = await reader.read()) found.push(next.value);
    return found;
  };

  test("transforms every chunk", async () => {
    const found = await collect(streamOf(chunks).pipeThrough(whole.transformStream()));
    expect(found).toEqual(chunks.map((chunk) => whole.transform(chunk)));
  });

  test("with fit, takes each in first", async () => {
    const online = new StandardScaler(C);
    const found = await collect(streamOf(chunks).pipeThrough(online.transformStream({ fit: true })));
    const want = new StandardScaler(C);
    expect(found).toEqual(chunks.map((chunk) => want.partialFit(chunk).transform(chunk)));
    expect(online.toJSON()).toEqual(want.toJSON());
  });

  test("an error goes down the stream", async () => {
    const stream = streamOf([Float32Array.of(1)]).pipeThrough(whole.transformStream());
    await expect(collect(stream)).rejects.toThrow("to have rows of 3 values");
  });
});

describe("state", () => {
  test("extreme columns come back to the bit", () => {
    const x = Float64Array.of(1e308, 1e-300, Number.NaN, -1.7e308, 3e-300, Number.NaN, 3, 0, Number.NaN);
    const scaler = new StandardScaler(C, { ddof: 0.5, withMean: false }).partialFit(x, {
      weights: [1, 0.1, 3],
    });
    const json = StandardScaler.fromJSON(JSON.parse(JSON.stringify(scaler)));
    const file = StandardScaler.fromSafetensors(scaler.toSafetensors());
    for (const back of [json, file]) {
      expect(back.toJSON()).toEqual(scaler.toJSON());
      expect(back.transform(x)).toEqual(scaler.transform(x));
      back.partialFit(Float64Array.of(1, 2, 3));
    }
    expect(json.toJSON()).toEqual(file.toJSON());
  });

  test("the file is safetensors: a header of JSON, F64 tensors, their data aligned", () => {
    const file = whole.toSafetensors();
    const view = new DataView(file.buffer);
    const length = view.getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length)));
    expect(header.mean.dtype).toBe("F64");
    expect(header.mean.shape).toEqual([C]);
    const at = 8 + length + header.mean.data_offsets[0];
    expect(at % 8).toBe(0);
    expect(view.getFloat64(at + 8, true)).toBe(whole.mean[1]);
    // And this package's reader gives the same.
    const dict = loadSafetensors(file);
    expect(dict.mean).toEqual(whole.mean);
    expect(dict.m2!.map((m2) => m2 / 45)).toEqual(whole.variance);
  });

  test("what is no state is refused", () => {
    const state = whole.toJSON();
    const wrong = (change: Record<string, unknown>) => () => StandardScaler.fromJSON({ ...state, ...change });
    expect(wrong({ version: 2 })).toThrow(RangeError);
    expect(wrong({ mean: [1, 2] })).toThrow("mean to have 3 values");
    expect(wrong({ mean: [1, null, 2] })).toThrow("a value of mean to be a finite number");
    expect(wrong({ m2: [1, -1, 2] })).toThrow(RangeError);
    expect(wrong({ unit: [0, 1, 0] })).toThrow("unit to be one of 0, 600, -600");
    expect(wrong({ features: 0 })).toThrow(RangeError);
    expect(() => StandardScaler.fromJSON("{}")).toThrow(TypeError);
    const file = whole.toSafetensors();
    for (const bad of [
      file.subarray(0, 7),
      file.subarray(0, file.length - 1),
      file.subarray(3),
      new Uint8Array(100),
    ]) {
      expect(() => StandardScaler.fromSafetensors(bad)).toThrow("StandardScaler.fromSafetensors: ");
    }
    const { mean } = loadSafetensors(file);
    expect(() => StandardScaler.fromSafetensors(saveSafetensors({ mean: mean! }))).toThrow(
      "expected version 1",
    );
    expect(() => StandardScaler.fromSafetensors("x" as unknown as Uint8Array)).toThrow(TypeError);
  });
});

describe("refusals: nothing has changed", () => {
  const bad = (value: unknown) => value as Float32Array;
  const x = chunks[4]!;
  test.each<[string, (scaler: StandardScaler) => unknown, string | RegExp]>([
    ["rows cut short", (s) => s.partialFit(x.subarray(1)), "partialFit: expected x to have rows of 3 values"],
    ["no array", (s) => s.partialFit(bad(null)), "partialFit: expected x to be a Float32Array"],
    ["plain numbers", (s) => s.partialFit(bad([1, 2, 3])), "expected column 0 of x to be a Float32Array"],
    ["too few columns", (s) => s.partialFit([x, x]), "expected x to have 3 columns"],
    ["uneven columns", (s) => s.partialFit([x, x, x.subarray(1)]), "expected column 2 of x to have 15 rows"],
    ["another width", (s) => s.partialFit({ shape: [5, 2], data: x }), "expected x to have 3 columns"],
    [
      "an infinity",
      (s) => s.partialFit(x.map((v, i) => (i === 7 ? -Infinity : v))),
      "expected finite values, or NaN to leave out, in column 1, got -Infinity",
    ],
    ["a short mask", (s) => s.partialFit(x, { mask: [true] }), "expected mask to have 5 values"],
    [
      "a mask of words",
      (s) => s.partialFit(x, { mask: ["a", "b", "c", "d", "e"] as unknown as boolean[] }),
      "expected mask to be",
    ],
    [
      "a negative weight",
      (s) => s.partialFit(x, { weights: [1, 1, -1, 1, 1] }),
      "finite and not negative, got -1",
    ],
    [
      "weights beyond float64",
      (s) => s.partialFit(x, { weights: Array(5).fill(1e308) }),
      "weights with a finite sum",
    ],
    [
      "integers for out",
      (s) => s.transformInto(x, new Int32Array(15)),
      "out to be an array of floating-point numbers",
    ],
    ["a short out", (s) => s.transformInto(x, new Float32Array(12)), "expected out to have 5 rows, got"],
    ["columns for out", (s) => s.transformInto(x, [x, x, x]), "expected out to have 5 rows"],
    [
      "an out shifted against x",
      (s) => {
        const both = new Float32Array(18);
        s.transformInto(both.subarray(0, 15), both.subarray(3));
      },
      "expected out to be x itself or to lie apart from it",
    ],
    [
      "columns that change places",
      (s) => s.transformInto([x, x.slice(), x.slice()], [x.slice(), x, x.slice()]),
      "out to be x itself",
    ],
    ["no scaler to merge", (s) => s.merge({} as StandardScaler), "expected a StandardScaler, got Object"],
    ["other columns to merge", (s) => s.merge(new StandardScaler(2)), "expected 3 features, got 2"],
    [
      "another half-life",
      (s) => s.merge(new StandardScaler(3, { halfLife: 2 })),
      "expected halfLife null, got 2",
    ],
  ])("%s", (_, act, message) => {
    const scaler = StandardScaler.fromJSON(whole.toJSON());
    expect(() => act(scaler)).toThrow(message);
    expect(scaler.toJSON()).toEqual(whole.toJSON());
  });

  test.each([
    [0, {}, "features"],
    [1.5, {}, "features"],
    [3, { ddof: -1 }, "ddof"],
    [3, { withMean: 1 as unknown as boolean }, "withMean"],
    [3, { halfLife: 0 }, "halfLife"],
    [3, { halfLife: 2, ddof: 1 }, "ddof to be 0 with a halfLife"],
  ])("new StandardScaler(%s, %o)", (features, options, message) => {
    expect(() => new StandardScaler(features, options)).toThrow(message);
  });
});
