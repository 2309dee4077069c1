import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { loadSafetensors, saveSafetensors } from "../src/safetensors.js";
import { load } from "./cases.js";

/** Lays a file out by hand: the header as given, the length before it, the data behind it. */
function layOut(header: unknown, data: readonly number[] = [], length?: number | bigint): Uint8Array {
  const text = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const file = new Uint8Array(8 + text.length + data.length);
  new DataView(file.buffer).setBigUint64(0, BigInt(length ?? text.length), true);
  file.set(text, 8);
  file.set(data, 8 + text.length);
  return file;
}

const tensor = (dtype: string, shape: unknown, ...data_offsets: unknown[]) => ({
  dtype,
  shape,
  data_offsets,
});

const bytesOf = (array: ArrayBufferView) => [
  ...new Uint8Array(array.buffer, array.byteOffset, array.byteLength),
];

const thrown = (run: () => unknown): Error => {
  try {
    run();
  } catch (error) {
    return error as Error;
  }
  throw new Error("nothing was thrown");
};

/** Reads a file by the book with JSON.parse, sharing nothing with the package. */
function readByHand(file: Uint8Array): { header: Record<string, unknown>; start: number } {
  const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  return {
    header: JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(file.subarray(8, 8 + length))),
    start: 8 + length,
  };
}

describe("loadSafetensors", () => {
  it("reads a file written out byte by byte", () => {
    const header = '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}  ';
    const file = Uint8Array.from([
      56, 0, 0, 0, 0, 0, 0, 0, // the header's length
      ...[...header].map((c) => c.charCodeAt(0)),
      0x00, 0x00, 0x80, 0x3f, // 1
      0x00, 0x00, 0x20, 0xc1, // -10
    ]); // biome-ignore format: a line for each field
    expect(header.length).toBe(56);
    expect(loadSafetensors(file)).toEqual({ a: Float32Array.of(1, -10) });
    expect(loadSafetensors(file.buffer)).toEqual({ a: Float32Array.of(1, -10) });
    expect(loadSafetensors(Buffer.from(file))).toEqual({ a: Float32Array.of(1, -10) });
  });

  it.each<[string, ArrayBufferView, number[]]>([
    ["F64", Float64Array.of(0.1, -1e-300), [0.1, -1e-300]],
    ["I64", BigInt64Array.of(-5n, 2n ** 24n + 1n), [-5, 2 ** 24]],
    [
      "I64",
      BigInt64Array.of(-(2n ** 63n), -(2n ** 60n) - 2n ** 36n - 1n),
      [-(2 ** 63), -(2 ** 60) - 2 ** 37],
    ],
    [
      "I64",
      BigInt64Array.of(2n ** 60n + 2n ** 36n, 2n ** 60n + 2n ** 36n + 1n),
      [2 ** 60, 2 ** 60 + 2 ** 37],
    ],
    ["U64", BigUint64Array.of(2n ** 64n - 1n, 7n), [2 ** 64, 7]],
    [
      "U64",
      BigUint64Array.of(2n ** 63n + 2n ** 39n + 1n, 2n ** 63n + 2n ** 39n),
      [2 ** 63 + 2 ** 40, 2 ** 63],
    ],
    ["I32", Int32Array.of(-1, 2 ** 30), [-1, 2 ** 30]],
    ["U32", Uint32Array.of(2 ** 32 - 1, 3), [2 ** 32, 3]],
    ["I16", Int16Array.of(-32768, 5), [-32768, 5]],
    ["U16", Uint16Array.of(65535, 5), [65535, 5]],
    ["I8", Int8Array.of(-128, 127), [-128, 127]],
    ["U8", Uint8Array.of(255, 0), [255, 0]],
    ["BOOL", Uint8Array.of(1, 0), [1, 0]],
    ["BF16", Uint16Array.of(0x3f80, 0xc120), [1, -10]],
    ["BF16", Uint16Array.of(0x7f80, 0x8000), [1 / 0, -0]],
    ["F16", Uint16Array.of(0x3c00, 0xc900), [1, -10]],
    ["F16", Uint16Array.of(0x7bff, 0x0001), [65504, 2 ** -24]],
    ["F16", Uint16Array.of(0x0400, 0x83ff), [2 ** -14, -1023 * 2 ** -24]],
    ["F16", Uint16Array.of(0xfc00, 0x8000), [-1 / 0, -0]],
    ["F16", Uint16Array.of(0x7c00, 0x7e00), [1 / 0, Number.NaN]],
  ])("reads %s as the nearest float32, F64 as it is (case %#)", (dtype, data, values) => {
    const file = layOut({ a: tensor(dtype, [2], 0, data.byteLength) }, bytesOf(data));
    expect([...loadSafetensors(file).a!]).toEqual(values); // toEqual tells 0 from -0
  });

  it("takes tensors in any order of the data, scalars, empty tensors, unaligned ones and metadata", () => {
    const header = {
      second: tensor("F32", [1, 1], 1, 5),
      __metadata__: { format: "pt", "": "" },
      none: tensor("F32", [0, 9], 1, 1),
      first: tensor("U8", [], 0, 1),
      last: tensor("I64", [0], 5, 5),
    };
    const dict = loadSafetensors(layOut(header, [9, 0, 0, 0x80, 0x3f]));
    expect(dict).toEqual({
      second: Float32Array.of(1),
      none: new Float32Array(0),
      first: Float32Array.of(9),
      last: new Float32Array(0),
    });
    expect(Object.keys(dict)).toEqual(["second", "none", "first", "last"]);
  });

  it("takes every way to write the same header", () => {
    const fields = ['"dtype" : "F\\u00332"', '"shape":\t[ ]', '"data_offsets":[0 ,\n4]'];
    for (const order of [
      [0, 1, 2],
      [2, 0, 1],
      [1, 2, 0],
    ]) {
      const header = `{ "\\"\\\\\\n/ü€😀" : {${order.map((i) => fields[i]).join(" , ")} } }   `;
      expect(loadSafetensors(layOut(header, [0, 0, 0, 0]))).toEqual({ '"\\\n/ü€😀': Float32Array.of(0) });
    }
    expect(loadSafetensors(layOut("{}"))).toEqual({});
  });

  it("leaves names of Object.prototype harmless", () => {
    const dict = loadSafetensors(
      layOut({ constructor: tensor("U8", [1], 0, 1), toString: tensor("U8", [1], 1, 2) }, [1, 2]),
    );
    expect(Object.keys(dict)).toEqual(["constructor", "toString"]);
    const polluted = '{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}';
    expect(() => loadSafetensors(layOut(polluted, [1]))).toThrow(RangeError);
    expect(() => loadSafetensors(layOut('{"__metadata__":{"__proto__":"x"}}'))).not.toThrow();
    expect(({} as Record<string, unknown>).dtype).toBeUndefined();
  });

  it("takes what the reference implementation takes: null metadata, unknown fields of any kind", () => {
    const more = { x: [1, -2.5e-3, true, false, null, { y: "z\u00e9" }], dtype: { shape: [] } };
    const header = { __metadata__: null, a: { more, ...tensor("U8", [1], 0, 1), "": "" } };
    expect(loadSafetensors(layOut(header, [3]))).toEqual({ a: Float32Array.of(3) });
  });

  it("reads the rest of a file with types that it does not know", () => {
    const header = {
      a: tensor("F8_E4M3", [2], 0, 2),
      b: tensor("U8", [1], 2, 3),
      c: tensor("F4", [2], 3, 4),
      d: tensor("MX6_WHATEVER", [], 4, 7),
    };
    const dict = loadSafetensors(layOut(header, [1, 2, 3, 4, 5, 6, 7]));
    expect({ ...dict }).toEqual({ b: Float32Array.of(3) });
    expect(() => dict.a).toThrow(
      /^loadSafetensors: expected a to have a dtype of F64, F32, .*BOOL, got "F8_E4M3"$/,
    );
    expect(() => dict.c).toThrow(RangeError);
    expect(() => dict.d).toThrow(/MX6_WHATEVER/);
    expect(dict.e).toBeUndefined();
  });

  it("rounds everything to float32 where that is asked for", () => {
    const dict = { a: Float64Array.of(0.1), num_batches_tracked: Float64Array.of(2 ** 24 + 1) };
    const file = saveSafetensors(dict);
    expect(loadSafetensors(file)).toEqual(dict);
    expect(loadSafetensors(file, { dtype: "float32" })).toEqual({
      a: Float32Array.of(0.1),
      num_batches_tracked: Float32Array.of(2 ** 24),
    });
    expect(() => loadSafetensors(file, { dtype: "float64" as "keep" })).toThrow(TypeError);
  });

  const a = tensor("F32", [1], 0, 4);
  const four = [0, 0, 0, 0];
  const eight = [...four, ...four];
  it.each<[string, Uint8Array]>([
    ["nothing", new Uint8Array(0)],
    ["seven bytes", new Uint8Array(7)],
    ["no header", new Uint8Array(8)],
    ["a header longer than the file", layOut({ a }, four, 1000)],
    ["a header of 2^64 - 1", layOut({ a }, four, 2n ** 64n - 1n)],
    ["a header of 2^32 more", layOut({ a }, four, 2n ** 32n + 60n)],
    ["a header one byte short", layOut("{} ", [], 1)],
    ["a space before the header", layOut(` ${JSON.stringify({ a })}`, four)],
    ["a byte order mark", layOut(`\ufeff${JSON.stringify({ a })}`, four)],
    ["a list", layOut("[]")],
    ["null", layOut("null")],
    ["two headers", layOut("{}{}")],
    ["padding with zeros", layOut("{}\0")],
    ["a trailing comma", layOut('{"__metadata__":{},}')],
    ["a comma alone", layOut("{,}")],
    ["an open brace", layOut("{")],
    ["an open string", layOut('{"a')],
    ["an escape at the end", layOut('{"a\\')],
    ["a bad escape", layOut('{"\\x":{}}')],
    ["a raw line break in a name", layOut('{"__metadata__":{"a\nb":""}}')],
    ["a comment", layOut("{/**/}")],
    ["deep nesting", layOut(`{"a":${"[".repeat(1e6)}`)],
    ["deep nesting, closed", layOut(`{"a":${'{"a":'.repeat(1e5)}1${"}".repeat(1e5)}}`)],
    ["invalid UTF-8", layOut('{"__metadata__":{"a":"\xff"}}').map((b) => (b === 0xc3 ? 0xff : b))],
    ["half a character in UTF-8", layOut('{"é":1}').map((b) => (b === 0xa9 ? 0x22 : b))],
    [
      "a name twice",
      layOut(
        '{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"\\u0061":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
      ),
    ],
    ["metadata twice", layOut('{"__metadata__":{},"__metadata__":{}}')],
    ["a metadata key twice", layOut('{"__metadata__":{"a":"1","a":"1"}}')],
    ["dtype twice", layOut('{"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}')],
    ["metadata that is a number", layOut({ __metadata__: { a: 1 } })],
    ["metadata that is nested", layOut({ __metadata__: { a: {} } })],
    ["metadata that is text", layOut({ __metadata__: "a" })],
    ["a tensor that is null", layOut({ a: null })],
    ["metadata with a null", layOut({ __metadata__: { a: null } })],
    ["a tensor that is text", layOut({ a: "F32" })],
    ["no dtype", layOut({ a: { shape: [1], data_offsets: [0, 4] } }, four)],
    ["no shape", layOut({ a: { dtype: "F32", data_offsets: [0, 4] } }, four)],
    ["no offsets", layOut({ a: { dtype: "F32", shape: [1] } }, four)],
    [
      "an unknown field of no JSON",
      layOut('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"more":01}}', four),
    ],
    [
      "an unknown field nested 200 deep",
      layOut(
        `{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"more":${"[".repeat(200)}${"]".repeat(200)}}}`,
        four,
      ),
    ],
    ["half a surrogate pair", layOut('{"__metadata__":{"a":"\\ud800"}}')],
    ["__proto__ as a field", layOut('{"a":{"__proto__":[0],"shape":[1],"data_offsets":[0,4]}}', four)],
    ["an unknown type that overlaps", layOut({ a: tensor("F8_E4M3", [4], 0, 4), b: a }, four)],
    ["an unknown type the wrong way round", layOut({ a: tensor("F4", [1], 4, 0) }, four)],
    ["a type that is a number", layOut({ a: tensor(1 as never, [1], 0, 4) }, four)],
    ["a negative extent", layOut({ a: tensor("F32", [-1], 0, 4) }, four)],
    ["two negative extents", layOut({ a: tensor("F32", [-1, -1], 0, 4) }, four)],
    ["a fractional extent", layOut({ a: tensor("F32", [1.5], 0, 6) }, [...four, 0, 0])],
    ["an extent with an exponent", layOut('{"a":{"dtype":"F32","shape":[1e0],"data_offsets":[0,4]}}', four)],
    ["an extent that is text", layOut({ a: tensor("F32", ["1"], 0, 4) }, four)],
    ["an extent of 2^53", layOut({ a: tensor("F32", [2 ** 53], 0, 4) }, four)],
    [
      "an extent of 40 digits",
      layOut(`{"a":{"dtype":"U8","shape":[1${"0".repeat(39)}],"data_offsets":[0,1]}}`, [0]),
    ],
    ["a product beyond 2^64", layOut({ a: tensor("F32", Array(30).fill(2 ** 50), 0, 4) }, four)],
    ["a product of infinity times 0", layOut({ a: tensor("F32", [...Array(30).fill(2 ** 50), 0], 0, 0) })],
    ["a shape that is a number", layOut({ a: tensor("F32", 1, 0, 4) }, four)],
    ["a nested shape", layOut({ a: tensor("F32", [[1]], 0, 4) }, four)],
    ["one offset", layOut({ a: tensor("F32", [1], 4) }, four)],
    ["three offsets", layOut({ a: tensor("F32", [1], 0, 4, 4) }, four)],
    ["no offset", layOut({ a: tensor("F32", [1]) }, four)],
    ["a negative offset", layOut({ a: tensor("F32", [1], -4, 0) }, four)],
    ["a fractional offset", layOut({ a: tensor("F32", [1], 0.5, 4.5) }, four)],
    ["offsets the wrong way round", layOut({ a: tensor("F32", [1], 4, 0) }, four)],
    ["offsets behind the file", layOut({ a: tensor("F32", [1], 4, 8) }, four)],
    ["an end behind the file", layOut({ a: tensor("F32", [2], 0, 8) }, four)],
    ["a tensor of 4 TB", layOut({ a: tensor("F32", [2 ** 40], 0, 2 ** 42) }, four)],
    ["a shape beyond its offsets", layOut({ a: tensor("F32", [2], 0, 4) }, four)],
    ["a shape beyond its offsets at the other end", layOut({ a: tensor("F32", [1], 2, 4) }, four)],
    ["an extent of 2^53 beside 0", layOut({ a: tensor("F32", [2 ** 53, 0], 0, 0) })],
    ["offsets beyond the shape", layOut({ a: tensor("F32", [1], 0, 8) }, eight)],
    ["two tensors on the same bytes", layOut({ a, b: a }, four)],
    ["two tensors that overlap", layOut({ a: tensor("U8", [3], 0, 3), b: tensor("U8", [2], 2, 4) }, four)],
    ["a hole at the beginning", layOut({ a: tensor("F32", [1], 4, 8) }, eight)],
    ["a hole in the middle", layOut({ a: tensor("U8", [1], 0, 1), b: tensor("U8", [1], 3, 4) }, four)],
    ["data that nobody owns", layOut({ a }, eight)],
    ["data without tensors", layOut("{}", four)],
    ["an empty tensor behind the data", layOut({ a, b: tensor("F32", [0], 8, 8) }, four)],
  ])("refuses %s", (_, file) => {
    const error = thrown(() => loadSafetensors(file));
    expect(error).toBeInstanceOf(RangeError);
    expect(error.message).toMatch(/^loadSafetensors: expected .{3,300}$/s);
  });

  it("says what is wrong and where", () => {
    expect(() => loadSafetensors(layOut({ w: tensor("F32", [2], 0, 4) }, four))).toThrow(
      "loadSafetensors: expected w (F32) to have data_offsets [0, 8], got [0, 4]",
    );
    expect(() => loadSafetensors(layOut({ w: tensor("constructor", [2], 0, 4) }, four)).w).toThrow(
      /^loadSafetensors: expected w to have a dtype of F64, .*, got "constructor"$/,
    );
    expect(() => loadSafetensors(layOut('{"a":{"dtype":"U8","shape":[x]}}'))).toThrow(
      'expected an integer from 0 to 2^53 at byte 28 of the header, got "x]}}"',
    );
    expect(() =>
      loadSafetensors(layOut({ x: tensor("U8", [1], 0, 1), y: tensor("U8", [1], 2, 3) }, [1, 2, 3])),
    ).toThrow("expected a tensor that begins at byte 1 of the data, where the one before it ends, got 2");
  });

  it.each<[string, unknown]>([
    ["nothing", undefined],
    ["text", "{}"],
    ["a number", 8],
    ["an array", [8, 0]],
    ["a Float32Array", new Float32Array(8)],
    ["a DataView", new DataView(new ArrayBuffer(16))],
    ["a proxy", new Proxy(new Uint8Array(8), {})],
    ["what says that it is an ArrayBuffer", { [Symbol.toStringTag]: "ArrayBuffer", byteLength: 16 }],
    ["what says that it is a Uint8Array", { [Symbol.toStringTag]: "Uint8Array", length: 2 ** 40 }],
  ])("is a TypeError for %s", (_, file) => {
    const error = thrown(() => loadSafetensors(file as Uint8Array));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toMatch(/^loadSafetensors: /);
  });

  it("refuses a detached file, and reads shared memory", () => {
    const detached = layOut({ a }, four);
    structuredClone(detached, { transfer: [detached.buffer] });
    expect(() => loadSafetensors(detached)).toThrow(TypeError);
    const file = layOut({ a }, four);
    const shared = new Uint8Array(new SharedArrayBuffer(file.length));
    shared.set(file);
    expect(loadSafetensors(shared)).toEqual({ a: Float32Array.of(0) });
  });

  it("takes time in proportion to the header", () => {
    const fileOf = (n: number) => {
      const info = '{"dtype":"U8","shape":[0],"data_offsets":[0,0]}';
      return layOut(`{${Array.from({ length: n }, (_, i) => `"${i.toString(36)}":${info}`).join()}}`);
    };
    const [short, long] = [fileOf(20_000), fileOf(320_000)];
    const time = (file: Uint8Array) => {
      const start = process.cpuUsage();
      loadSafetensors(file);
      const { user, system } = process.cpuUsage(start);
      return user + system;
    };
    time(short); // compiles
    const unit = Math.max(...Array.from({ length: 5 }, () => time(short)));
    // Sixteen times the entries; what grows with their square would take 256 times as long.
    expect(time(long) / unit).toBeLessThan(64);
  }, 30_000);

  it("answers at once for headers that are made to be slow", () => {
    const many = Array.from({ length: 2e6 }, (_, i) => `"${i.toString(36)}":{}`).join();
    expect(() => loadSafetensors(layOut(`{${many}}`))).toThrow(RangeError);
    expect(() => loadSafetensors(layOut(`{${" ".repeat(2e7)}`))).toThrow(RangeError);
    expect(() => loadSafetensors(layOut(`{"${"\\\\".repeat(1e7)}`))).toThrow(RangeError);
    expect(() => loadSafetensors(layOut(`{"a":{"shape":[${"9".repeat(2e7)}`))).toThrow(RangeError);
  }, 20_000);
});

const name = fc.oneof(
  fc.constantFrom("weight", "bias", "running_mean", "bn1.weight", "toString", "0", "", 'a"b\\\n'),
  fc.string({ unit: "binary", maxLength: 12 }),
);
const isFree = (key: string) =>
  key !== "__proto__" && key !== "__metadata__" && !key.endsWith("num_batches_tracked");
const values = fc.float32Array({ maxLength: 20 });
const dicts = fc.dictionary(name.filter(isFree), values, { noNullPrototype: true });
const metadata = fc.dictionary(name.filter(isFree), fc.string({ unit: "binary" }), { noNullPrototype: true });

describe("saveSafetensors", () => {
  it("comes back bit for bit, NaN and -0 included", () => {
    fc.assert(
      fc.property(dicts, metadata, (dict, texts) => {
        const file = saveSafetensors(dict, texts);
        const loaded = loadSafetensors(file);
        expect(Object.keys(loaded)).toEqual(Object.keys(dict));
        for (const [key, array] of Object.entries(dict))
          expect(bytesOf(loaded[key]!)).toEqual(bytesOf(array));
        const { header, start } = readByHand(file);
        expect(header.__metadata__ ?? {}).toEqual(texts);
        expect(start % 8).toBe(0);
        let end = 0;
        for (const [key, info] of Object.entries(header)) {
          if (key === "__metadata__") continue;
          const { dtype, shape, data_offsets } = info as ReturnType<typeof tensor>;
          expect([dtype, shape]).toEqual(["F32", [dict[key]!.length]]);
          const [from, to] = data_offsets as [number, number];
          expect([...file.subarray(start + from, start + to)]).toEqual(bytesOf(dict[key]!));
          end = Math.max(end, to);
        }
        expect(start + end).toBe(file.length);
      }),
      { numRuns: 500, seed: 5 },
    );
  });

  it("writes the layout by hand for a batch norm layer", () => {
    const dict = { weight: Float32Array.of(1, 2), num_batches_tracked: Float64Array.of(3) };
    const header =
      '{"num_batches_tracked":{"dtype":"I64","shape":[],"data_offsets":[0,8]},"weight":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}';
    const padded = header.padEnd(Math.ceil(header.length / 8) * 8);
    expect(saveSafetensors(dict)).toEqual(
      layOut(padded, [3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x3f, 0, 0, 0, 0x40]),
    );
    expect(loadSafetensors(saveSafetensors(dict))).toEqual(dict);
  });

  it("takes a Map, of entries, metadata and shapes", () => {
    const dict = new Map([["a", Float32Array.of(1, 2)]]);
    const file = saveSafetensors(dict, new Map([["format", "pt"]]), new Map([["a", [1, 2]]]));
    expect(file).toEqual(saveSafetensors({ a: Float32Array.of(1, 2) }, { format: "pt" }, { a: [1, 2] }));
    expect(loadSafetensors(file)).toEqual({ a: Float32Array.of(1, 2) });
  });

  it("keeps every array's own type", () => {
    const dict = {
      f64: Float64Array.of(0.1),
      f32: Float32Array.of(0.1),
      i64: BigInt64Array.of(-(2n ** 63n)),
      u64: BigUint64Array.of(2n ** 64n - 1n),
      i32: Int32Array.of(-5),
      u32: Uint32Array.of(5),
      i16: Int16Array.of(-5),
      u16: Uint16Array.of(5),
      i8: Int8Array.of(-5),
      u8: Uint8Array.of(5),
    };
    const file = saveSafetensors(dict);
    const { header } = readByHand(file);
    for (const key of Object.keys(dict)) {
      expect(header[key]).toMatchObject({ dtype: key.toUpperCase(), shape: [1] });
    }
    expect(loadSafetensors(file, { dtype: "keep" })).toEqual(dict);
    expect(saveSafetensors(loadSafetensors(file, { dtype: "keep" }))).toEqual(file);
  });

  it("writes scalars and more than eight axes", () => {
    const dict = { scalar: Float32Array.of(7), deep: new Float32Array(4) };
    const file = saveSafetensors(dict, {}, { scalar: [], deep: [1, 1, 1, 1, 1, 1, 1, 1, 2, 2] });
    const { header } = readByHand(file);
    expect(header).toMatchObject({ scalar: { shape: [] }, deep: { shape: [1, 1, 1, 1, 1, 1, 1, 1, 2, 2] } });
    expect(loadSafetensors(file)).toEqual(dict);
    expect(loadSafetensors(file, { dtype: "keep" }).deep!.shape).toEqual([1, 1, 1, 1, 1, 1, 1, 1, 2, 2]);
  });

  it("takes a layer to a file and back", async () => {
    const { BatchNorm } = await load();
    const layer = new BatchNorm(3);
    for (let step = 0; step < 5; step++) layer.forward(Float32Array.from({ length: 12 }, (_, i) => i * step));
    const restored = new BatchNorm(3);
    restored.loadStateDict(loadSafetensors(saveSafetensors(layer.stateDict())));
    expect(restored.stateDict()).toEqual(layer.stateDict());
    expect(restored.batchesTracked).toBe(5);
  });

  it("writes shapes where they are given", () => {
    const dict = { "ln.weight": new Float32Array(6), "ln.bias": new Float32Array(6) };
    const { header } = readByHand(saveSafetensors(dict, {}, { "ln.weight": [2, 3] }));
    expect(header).toEqual({
      "ln.weight": tensor("F32", [2, 3], 0, 24),
      "ln.bias": tensor("F32", [6], 24, 48),
    });
  });

  it("takes views and leaves them", () => {
    const whole = Float32Array.of(1, 2, 3, 4);
    const file = saveSafetensors({ a: whole.subarray(1, 3) });
    expect(loadSafetensors(file)).toEqual({ a: Float32Array.of(2, 3) });
    expect(whole).toEqual(Float32Array.of(1, 2, 3, 4));
  });

  const one = Float32Array.of(1);
  it.each<[string, unknown[], unknown]>([
    ["no dict", [], TypeError],
    ["null", [null], TypeError],
    ["a DataView", [{ a: new DataView(new ArrayBuffer(8)) }], TypeError],
    [
      "an object with a prototype of its own",
      [
        new (class Model {
          a = one;
        })(),
      ],
      TypeError,
    ],
    ["a Set", [new Set([one])], TypeError],
    ["a Map with a key that is no text", [new Map([[1, one]])], RangeError],
    [
      "an entry that could not be read",
      [loadSafetensors(layOut({ a: tensor("F4", [8], 0, 4) }, [0, 0, 0, 0]))],
      TypeError,
    ],
    ["plain numbers", [{ a: [1] }], TypeError],
    ["a list", [[1]], TypeError],
    ["the name __metadata__", [{ __metadata__: one }], RangeError],
    ["the name __proto__", [JSON.parse('{"__proto__":[]}')], RangeError],
    ["half a character", [{ "\ud800": one }], RangeError],
    ["a fractional count", [{ "bn.num_batches_tracked": Float32Array.of(0.5) }], RangeError],
    ["a negative count", [{ num_batches_tracked: Float32Array.of(-1) }], RangeError],
    ["an infinite count", [{ num_batches_tracked: Float32Array.of(1 / 0) }], RangeError],
    ["two counts", [{ num_batches_tracked: new Float32Array(2) }], RangeError],
    ["metadata that is a number", [{ a: one }, { n: 1 }], TypeError],
    ["metadata that is null", [{ a: one }, null], TypeError],
    ["metadata of half a character", [{ a: one }, { n: "\udc00" }], RangeError],
    ["a shape of another size", [{ a: one }, {}, { a: [2] }], RangeError],
    ["a shape that is none", [{ a: one }, {}, { a: 1 }], TypeError],
    ["a shape without an entry", [{ a: one }, {}, { b: [1] }], RangeError],
    [
      "a getter that throws",
      [
        {
          get a() {
            throw new SyntaxError("mine");
          },
        },
      ],
      TypeError,
    ],
  ])("refuses %s", (_, args, kindOfError) => {
    const error = thrown(() => saveSafetensors(...(args as Parameters<typeof saveSafetensors>)));
    expect(error).toBeInstanceOf(kindOfError);
    expect(error.message).toMatch(/^saveSafetensors: /);
  });
});

describe("sixteen bits", () => {
  const all = Uint16Array.from({ length: 65_536 }, (_, bits) => bits);
  /** By the definition of IEEE 754-2019, 3.4: bits of exponent and fraction, by formula. */
  const defined = (bits: number, exponentBits: number): number => {
    const fractionBits = 15 - exponentBits;
    const bias = 2 ** (exponentBits - 1) - 1;
    const exponent = (bits >> fractionBits) & (2 ** exponentBits - 1);
    const fraction = (bits & (2 ** fractionBits - 1)) / 2 ** fractionBits;
    const sign = bits >> 15 ? -1 : 1;
    if (exponent === 2 ** exponentBits - 1) return fraction ? Number.NaN : sign * Infinity;
    return sign * (exponent ? (1 + fraction) * 2 ** (exponent - bias) : fraction * 2 ** (1 - bias));
  };

  it.each([
    ["F16", 5],
    ["BF16", 8],
  ])(
    "every %s is what the standard says, in short and long arrays, aligned or not",
    (dtype, exponentBits) => {
      const expected = Float32Array.from(all, (bits) => defined(bits, exponentBits));
      for (const shift of [0, 1, 2, 3]) {
        const data = [...Array(shift).fill(0), ...bytesOf(all)];
        const header = { s: tensor("U8", [shift], 0, shift), a: tensor(dtype, [65_536], shift, data.length) };
        // Padded to eight, so that `shift` is how far from aligned the data lie.
        const text = JSON.stringify(header);
        expect(loadSafetensors(layOut(text.padEnd(Math.ceil(text.length / 8) * 8), data)).a).toEqual(
          expected,
        );
      }
      for (const [first, last] of [
        [0, 5],
        [1020, 1031],
        [31_740, 31_747],
        [65_500, 65_535],
      ] as const) {
        const part = all.slice(first, last);
        const file = layOut({ a: tensor(dtype, [part.length], 0, 2 * part.length) }, bytesOf(part));
        expect(loadSafetensors(file).a).toEqual(expected.slice(first, last));
      }
    },
  );

  it("come as they are where that is asked for, type and shape told, and go back so", () => {
    const header = {
      b: tensor("BF16", [2, 2], 0, 8),
      h: tensor("F16", [1, 4], 8, 16),
      o: tensor("BOOL", [1], 16, 17),
    };
    const text = JSON.stringify(header);
    const data = [0x80, 0x3f, 0x20, 0xc1, 1, 0, 0, 0, 0x00, 0x3c, 0x00, 0xc9, 0, 0, 1, 0, 1];
    const file = layOut(text.padEnd(Math.ceil(text.length / 8) * 8), data);
    const dict = loadSafetensors(file, { dtype: "keep" });
    expect(dict.b).toEqual(Uint16Array.of(0x3f80, 0xc120, 1, 0));
    expect(bytesOf(dict.h as Uint16Array)).toEqual(data.slice(8, 16));
    expect([dict.b, dict.h, dict.o].map((array) => [array!.dtype, array!.shape])).toEqual([
      ["BF16", [2, 2]],
      ["F16", [1, 4]],
      ["BOOL", [1]],
    ]);
    expect(saveSafetensors(dict)).toEqual(file);
  });

  it("F16 is a Float16Array where the platform has one, and Uint16Array where not", () => {
    const file = layOut({ a: tensor("F16", [1], 0, 2) }, [0x00, 0x3c]);
    const own = Object.getOwnPropertyDescriptor(globalThis, "Float16Array");
    class Float16Array extends Uint16Array {}
    try {
      Object.defineProperty(globalThis, "Float16Array", { value: Float16Array, configurable: true });
      expect(loadSafetensors(file, { dtype: "keep" }).a).toBeInstanceOf(Float16Array);
      Object.defineProperty(globalThis, "Float16Array", { value: undefined, configurable: true });
      expect(loadSafetensors(file, { dtype: "keep" }).a).toEqual(Uint16Array.of(0x3c00));
    } finally {
      if (own) Object.defineProperty(globalThis, "Float16Array", own);
      else Reflect.deleteProperty(globalThis, "Float16Array");
    }
  });

  it("are read by layers as they come", async () => {
    const { LayerNorm } = await load();
    const layer = new LayerNorm(2);
    const file = layOut(
      { weight: tensor("BF16", [2], 0, 4), bias: tensor("F16", [2], 4, 8) },
      [0x80, 0x3f, 0x20, 0xc1, 0x00, 0x3c, 0x00, 0xc9],
    );
    layer.loadStateDict(loadSafetensors(file, { dtype: "keep" }));
    expect(layer.gamma!.data).toEqual(Float32Array.of(1, -10));
    expect(layer.beta!.data).toEqual(Float32Array.of(1, -10));
  });
});

describe("64-bit integers", () => {
  it("come to float32 rounded once, to the nearest and even", () => {
    const nearest = (value: bigint): number => {
      // The two float32 around it, by bigints alone.
      const size = value < 0n ? -value : value;
      const drop = Math.max(0, size.toString(2).length - 24);
      const unit = 1n << BigInt(drop);
      const rest = size % unit;
      let kept = size / unit;
      if (2n * rest > unit || (2n * rest === unit && kept % 2n === 1n)) kept += 1n;
      return Number(kept * unit) * (value < 0n ? -1 : 1);
    };
    const halves = fc
      .tuple(fc.bigInt(0n, 63n), fc.bigInt(0n, 63n), fc.constantFrom(-1n, 0n, 1n), fc.boolean())
      .map(([a, b, d, negative]) => BigInt.asIntN(64, ((1n << a) + (1n << b) + d) * (negative ? -1n : 1n)));
    fc.assert(
      fc.property(
        fc.array(fc.oneof(halves, fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n)), { minLength: 1 }),
        (list) => {
          const signed = BigInt64Array.from(list);
          const unsigned = BigUint64Array.from(list, (value) => BigInt.asUintN(64, value));
          for (const [dtype, array] of [
            ["I64", signed],
            ["U64", unsigned],
          ] as const) {
            const file = layOut({ a: tensor(dtype, [list.length], 0, array.byteLength) }, bytesOf(array));
            expect([...loadSafetensors(file).a!]).toEqual(Array.from(array, (v: bigint) => nearest(v)));
            expect(loadSafetensors(file, { dtype: "keep" }).a).toEqual(array);
          }
        },
      ),
      { numRuns: 2000, seed: 3 },
    );
  });
});

describe("damaged files", () => {
  const good = saveSafetensors(
    { weight: Float32Array.of(1, 2, 3), bias: Float32Array.of(4), num_batches_tracked: Float32Array.of(2) },
    { format: "pt" },
  );

  /** Reads it, or refuses it in so many words; nothing else may happen. */
  const survive = (file: Uint8Array) => {
    try {
      for (const [name, array] of Object.entries(loadSafetensors(file))) {
        if (array instanceof Float64Array)
          expect(name === "num_batches_tracked" || array.length === 0).toBe(true);
        else expect(array).toBeInstanceOf(Float32Array);
      }
    } catch (error) {
      expect(error).toBeInstanceOf(RangeError);
      expect((error as Error).message).toMatch(/^loadSafetensors: expected /);
    }
  };

  it("are refused wherever they are cut, and with a byte more", () => {
    for (let length = 0; length < good.length; length++) {
      expect(() => loadSafetensors(good.slice(0, length))).toThrow(RangeError);
    }
    expect(() => loadSafetensors(Uint8Array.of(...good, 0))).toThrow(RangeError);
    expect(Object.keys(loadSafetensors(good))).toHaveLength(3);
  });

  it("are read or refused with any bytes changed", () => {
    const change = fc.tuple(
      fc.nat(good.length - 1),
      fc.oneof(fc.nat(255), fc.constantFrom(...'{}[],:"\\09- '.split("").map((c) => c.charCodeAt(0)))),
    );
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
        const file = good.slice();
        for (const [at, byte] of changes) file[at] = byte;
        survive(file);
      }),
      { numRuns: 5000, seed: 11 },
    );
  });

  it("are read or refused whatever the header says", () => {
    const number = fc.oneof(fc.nat(16), fc.constantFrom(0, 4, 8, 12), fc.maxSafeInteger(), fc.double());
    const info = fc.record(
      {
        dtype: fc.constantFrom("F32", "I64", "U8", "F16", "X"),
        shape: fc.array(fc.oneof(fc.nat(3), number), { maxLength: 3 }),
        data_offsets: fc.array(number, { minLength: 1, maxLength: 3 }),
        more: fc.anything(),
      },
      { requiredKeys: ["dtype", "shape"] },
    );
    fc.assert(
      fc.property(
        fc.dictionary(name, fc.oneof({ weight: 8, arbitrary: info }, fc.anything()), { maxKeys: 3 }),
        fc.nat(16),
        (header, length) => survive(layOut(header, Array(length).fill(1))),
      ),
      { numRuns: 5000, seed: 11 },
    );
  });
});
