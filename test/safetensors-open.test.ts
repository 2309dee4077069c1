import { mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type Fetch,
  loadInto,
  loadSafetensors,
  openSafetensors,
  type SafetensorsSource,
  saveSafetensors,
} from "../src/safetensors.js";
import { load } from "./cases.js";

const big = Float32Array.from({ length: 100_000 }, (_, i) => i);
const dict = {
  "encoder.weight": big,
  "bn.weight": Float32Array.of(1, 2),
  "bn.running_mean": Float64Array.of(0.1, -0.2),
  "bn.num_batches_tracked": Float64Array.of(2 ** 40 + 1),
};
const file = saveSafetensors(dict, { format: "pt", note: "größer" }, { "encoder.weight": [1000, 100] });

/** A server of files by path that answers range requests, and counts the bytes it sends. */
interface Host {
  url: string;
  files: Map<string, Uint8Array>;
  sent: number;
  requests: number;
  ranges: boolean;
  etag: string | undefined;
}

let host: Host;
let server: Server;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "checkpoint-"));
  host = { url: "", files: new Map(), sent: 0, requests: 0, ranges: true, etag: undefined };
  server = createServer((request, response) => {
    host.requests++;
    const whole = host.files.get(request.url!);
    if (!whole) return void response.writeHead(404).end();
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? [];
    if (host.etag) response.setHeader("etag", host.etag);
    if (!host.ranges || from === undefined) return void response.writeHead(200).end(whole);
    const end = Math.min(Number(to) + 1, whole.length);
    const part = whole.subarray(Number(from), end);
    host.sent += part.length;
    response.setHeader("content-range", `bytes ${from}-${end - 1}/${whole.length}`);
    response.writeHead(206).end(part);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  host.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  host.files.set("/model.safetensors", file);
});

afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await rm(folder, { recursive: true });
});

/** Bytes of which every read is seen. */
function watched(bytes: Uint8Array) {
  const reads: [number, number][] = [];
  return {
    reads,
    stat: async () => ({ size: bytes.length }),
    // At most 1,000 bytes at a time, as a file may do.
    read: async (buffer: Uint8Array, offset: number, length: number, position: number) => {
      const n = Math.min(length, 1000, bytes.length - position);
      reads.push([position, position + n]);
      buffer.set(bytes.subarray(position, position + n), offset);
      return { bytesRead: n };
    },
  };
}

describe("openSafetensors", () => {
  const sources: [string, () => SafetensorsSource | Promise<SafetensorsSource>][] = [
    ["a Uint8Array", () => file],
    ["an ArrayBuffer", () => file.buffer],
    [
      "a part of a larger Uint8Array",
      () => {
        const larger = new Uint8Array(file.length + 2);
        larger.set(file, 1);
        return larger.subarray(1, file.length + 1);
      },
    ],
    [
      "shared memory",
      () => {
        const shared = new SharedArrayBuffer(file.length);
        new Uint8Array(shared).set(file);
        return shared;
      },
    ],
    ["a Blob", () => new Blob([file])],
    ["a File", () => new File([file], "model.safetensors")],
    ["a handle that gives 1,000 bytes at a time", () => watched(file)],
    ["a URL", () => new URL(`${host.url}/model.safetensors`)],
    ["a URL as text", () => `${host.url}/model.safetensors`],
  ];
  it.each(sources)("reads %s", async (_, source) => {
    const opened = await openSafetensors(await source());
    expect([...opened.names].sort()).toEqual(Object.keys(dict).sort());
    expect(opened.metadata).toEqual({ format: "pt", note: "größer" });
    expect(opened.shape("encoder.weight")).toEqual([1000, 100]);
    expect(opened.shape("bn.num_batches_tracked")).toEqual([]);
    expect(opened.dtype("bn.running_mean")).toBe("F64");
    for (const [name, array] of Object.entries(dict)) expect(await opened.load(name)).toEqual(array);
    expect(await opened.load("bn.running_mean", { dtype: "float32" })).toEqual(Float32Array.of(0.1, -0.2));
    const kept = await opened.load("bn.num_batches_tracked", { dtype: "keep" });
    expect(kept).toEqual(BigInt64Array.of(2n ** 40n + 1n));
    expect([kept.dtype, kept.shape]).toEqual(["I64", []]);
  });

  it("reads a file that Node has open", async () => {
    const path = join(folder, "model.safetensors");
    await writeFile(path, file);
    const handle = await open(path);
    try {
      const opened = await openSafetensors(handle);
      expect(await opened.load("bn.weight")).toEqual(dict["bn.weight"]);
    } finally {
      await handle.close();
    }
  });

  it("reads the header and what is asked for, and nothing else", async () => {
    const source = watched(file);
    const opened = await openSafetensors(source);
    const headerEnd = file.length - big.byteLength - 32;
    source.reads.length = 0;
    await opened.load("bn.weight");
    const size = source.reads.reduce((sum, [from, to]) => sum + to - from, 0);
    expect(size).toBe(8);
    expect(source.reads[0]![0]).toBeGreaterThanOrEqual(headerEnd);
    host.sent = 0;
    host.requests = 0;
    const remote = await openSafetensors(`${host.url}/model.safetensors`);
    await remote.load("bn.weight");
    expect(host.sent).toBeLessThanOrEqual(32_768 + 8);
    expect(host.requests).toBe(2);
  });

  it("reads a header that is longer than the first request", async () => {
    const many = Object.fromEntries(
      Array.from({ length: 2000 }, (_, i) => [`layers.${i}.norm.weight`, Float32Array.of(i)]),
    );
    host.files.set("/many.safetensors", saveSafetensors(many));
    const opened = await openSafetensors(`${host.url}/many.safetensors`);
    expect(opened.names).toHaveLength(2000);
    expect(await opened.load("layers.1234.norm.weight")).toEqual(Float32Array.of(1234));
  });

  it("gives arrays that are the caller's own", async () => {
    const bytes = file.slice();
    const opened = await openSafetensors(bytes);
    const first = await opened.load("bn.weight");
    first.fill(9);
    expect(await opened.load("bn.weight")).toEqual(dict["bn.weight"]);
    expect(bytes).toEqual(file);
  });

  it("tells of a type that it cannot read, and reads the others", async () => {
    const header =
      '{"a":{"dtype":"F8_E5M2","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}';
    const bytes = Uint8Array.of(header.length, 0, 0, 0, 0, 0, 0, 0, ...Buffer.from(header), 1, 2, 3);
    const source = watched(bytes);
    const opened = await openSafetensors(source);
    expect(opened.dtype("a")).toBe("F8_E5M2");
    expect(opened.shape("a")).toEqual([2]);
    const reads = source.reads.length;
    await expect(opened.load("a")).rejects.toThrow(
      /^SafetensorsFile\.load: expected a to have a dtype of .*, got "F8_E5M2"$/,
    );
    expect(source.reads).toHaveLength(reads);
    expect(await opened.load("b")).toEqual(Float32Array.of(3));
  });

  it("names what there is for a name that is not", async () => {
    const opened = await openSafetensors(file);
    for (const use of [() => opened.shape("bias"), () => opened.dtype("bias")]) {
      expect(use).toThrow(/expected one of .*bn\.weight.*, got "bias"$/);
    }
    await expect(opened.load("bias")).rejects.toThrow(RangeError);
    await expect(opened.load("__proto__")).rejects.toThrow(RangeError);
    await expect(opened.load("bn.weight", { dtype: "f4" as "keep" })).rejects.toThrow(TypeError);
  });

  it.each<[string, unknown]>([
    ["nothing", undefined],
    ["null", null],
    ["a number", 5],
    ["a list", [1]],
    ["an empty object", {}],
    ["a Float32Array", new Float32Array(9)],
    ["text that is no URL", "model.safetensors"],
    ["a file: URL", "file:///model.safetensors"],
  ])("is a TypeError for %s", async (_, source) => {
    await expect(openSafetensors(source as Uint8Array)).rejects.toThrow(
      expect.objectContaining({
        name: "TypeError",
        message: expect.stringMatching(/^openSafetensors: expected /),
      }),
    );
  });

  it("refuses a server without range requests, with the remedy, and does not read what it sends", async () => {
    host.ranges = false;
    try {
      await expect(openSafetensors(`${host.url}/model.safetensors`)).rejects.toThrow(
        /status 206 .*, got 200; loadSafetensors reads/,
      );
    } finally {
      host.ranges = true;
    }
    await expect(openSafetensors(`${host.url}/none`)).rejects.toThrow(/got 404$/);
  });

  it("sees that a file was replaced meanwhile", async () => {
    host.etag = '"1"';
    const opened = await openSafetensors(`${host.url}/model.safetensors`);
    host.etag = '"2"';
    await expect(opened.load("bn.weight")).rejects.toThrow(/another version/);
    host.etag = undefined;
  });

  it("takes a fetch of the caller's, and one whose answers hide their range", async () => {
    const asked: string[] = [];
    const mine: Fetch = async (url, { headers }) => {
      asked.push(`${url} ${headers.Range}`);
      const [, from, to] = /(\d+)-(\d+)/.exec(headers.Range!)!;
      return new Response(file.slice(Number(from), Number(to) + 1), { status: 206 });
    };
    const opened = await openSafetensors("https://example.com/a", { fetch: mine });
    expect(await opened.load("bn.weight")).toEqual(dict["bn.weight"]);
    expect(asked[0]).toBe("https://example.com/a bytes=0-32767");
    const short: Fetch = async () => new Response(file.slice(0, 3), { status: 206 });
    await expect(openSafetensors("https://example.com/a", { fetch: short })).rejects.toThrow(RangeError);
  });

  it("names fetch where the platform has none", async () => {
    const { fetch } = globalThis;
    try {
      Reflect.deleteProperty(globalThis, "fetch");
      await expect(openSafetensors("https://example.com/a")).rejects.toThrow(/fetch, which this runtime/);
      expect((await openSafetensors(file)).names).toHaveLength(4);
    } finally {
      globalThis.fetch = fetch;
    }
  });

  it("reads and writes without TextDecoder and TextEncoder", async () => {
    const { TextDecoder, TextEncoder } = globalThis;
    try {
      Reflect.deleteProperty(globalThis, "TextDecoder");
      Reflect.deleteProperty(globalThis, "TextEncoder");
      const text = saveSafetensors(
        { "ä€😀": Float32Array.of(1) },
        { "\u0000\u007f\u0080\u07ff\u0800\uffff\u{10ffff}": "é" },
      );
      const opened = await openSafetensors(text);
      expect(opened.names).toEqual(["ä€😀"]);
      expect(opened.metadata).toEqual({ "\u0000\u007f\u0080\u07ff\u0800\uffff\u{10ffff}": "é" });
    } finally {
      Object.assign(globalThis, { TextDecoder, TextEncoder });
    }
  });

  it("is refused or read whatever bytes there are, at any length", async () => {
    const good = saveSafetensors({ a: Float32Array.of(1, 2), b: Uint8Array.of(3) }, { x: "y" });
    const change = fc.tuple(
      fc.nat(good.length - 1),
      fc.oneof(fc.nat(255), fc.constantFrom(34, 44, 48, 57, 91, 93, 123, 125)),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(change, { maxLength: 4 }), fc.nat(good.length), async (changes, length) => {
        const bytes = good.slice(0, length > 20 ? undefined : length);
        for (const [at, byte] of changes) if (at < bytes.length) bytes[at] = byte;
        let whole: unknown;
        try {
          whole = loadSafetensors(bytes);
        } catch (error) {
          whole = error;
        }
        for (const source of [bytes, watched(bytes)]) {
          const opened = await openSafetensors(source).catch((error: Error) => error);
          if (opened instanceof Error) {
            expect(opened).toBeInstanceOf(RangeError);
            // The same verdict by either way, __proto__ apart.
            expect(whole).toBeInstanceOf(Error);
          } else {
            for (const name of opened.names) {
              const values = await opened.load(name).catch((error: Error) => error);
              if (values instanceof Error) expect(values.message).toMatch(/a dtype of/);
              else if (!(whole instanceof Error))
                expect(values).toEqual((whole as typeof dict)[name as "bn.weight"]);
            }
          }
        }
      }),
      { numRuns: 1000, seed: 7 },
    );
  }, 30_000);

  it("takes a lying length of the header or the data for what it is, without room for it", async () => {
    const lengths = fc.oneof(
      fc.bigInt(0n, 2n ** 64n - 1n),
      fc.bigInt(0n, 200n),
      fc.constantFrom(2n ** 63n, 100_000_000n, 100_000_001n),
    );
    await fc.assert(
      fc.asyncProperty(lengths, fc.nat(60), async (length, size) => {
        const bytes = new Uint8Array(8 + size).fill(0x20);
        bytes[8] = 0x7b;
        bytes[9] = 0x7d;
        new DataView(bytes.buffer).setBigUint64(0, length, true);
        const fits = length === BigInt(size) && size >= 2;
        const opened = await openSafetensors(watched(bytes)).catch((error: Error) => error);
        if (fits) expect(opened).not.toBeInstanceOf(Error);
        else if (!(opened instanceof RangeError)) throw opened;
      }),
      { numRuns: 1000, seed: 7 },
    );
  });
});

describe("a sharded checkpoint", () => {
  const one = saveSafetensors({ "layers.0.weight": Float32Array.of(1, 2) }, { format: "pt" });
  const two = saveSafetensors({ "layers.1.weight": Float32Array.of(3, 4), extra: Float32Array.of(5) });
  const index = {
    metadata: { total_size: 20 },
    weight_map: {
      "layers.0.weight": "model-00001-of-00002.safetensors",
      "layers.1.weight": "model-00002-of-00002.safetensors",
    },
  };
  const text = new TextEncoder().encode(JSON.stringify(index));
  const shards: Record<string, Uint8Array> = {
    "model-00001-of-00002.safetensors": one,
    "model-00002-of-00002.safetensors": two,
  };
  const openShard = (name: string) => shards[name]!;

  const check = async (opened: Awaited<ReturnType<typeof openSafetensors>>) => {
    expect(opened.names).toEqual(["layers.0.weight", "layers.1.weight"]);
    expect(opened.metadata).toEqual({ format: "pt" });
    expect(opened.shape("layers.1.weight")).toEqual([2]);
    expect(await opened.load("layers.0.weight")).toEqual(Float32Array.of(1, 2));
    expect(await opened.load("layers.1.weight")).toEqual(Float32Array.of(3, 4));
    await expect(opened.load("extra")).rejects.toThrow(RangeError);
  };

  it("opens by its index at a URL, shards beside it", async () => {
    host.files.set("/m/model.safetensors.index.json", text);
    for (const [name, bytes] of Object.entries(shards)) host.files.set(`/m/${name}`, bytes);
    await check(await openSafetensors(`${host.url}/m/model.safetensors.index.json`));
  });

  it("opens by its index as bytes, Blob or object, shards where the caller says", async () => {
    await check(await openSafetensors(text, { open: openShard }));
    await check(
      await openSafetensors(new Blob([text]), {
        open: async (name) => new Blob([shards[name]! as BlobPart]),
      }),
    );
    await check(await openSafetensors(index, { open: openShard }));
    await expect(openSafetensors(index)).rejects.toThrow(
      /expected open, which gives the source of each shard/,
    );
  });

  it.each([
    "../model.safetensors",
    "/etc/passwd",
    "https://example.com/a",
    "a\\b",
    "",
    "a/../../b",
    "%2e%2e/a",
  ])("does not leave its folder for %j", async (name) => {
    const asked: string[] = [];
    const opening = openSafetensors(
      { weight_map: { a: name } },
      {
        open: (file) => {
          asked.push(file);
          return one;
        },
      },
    );
    await expect(opening).rejects.toThrow(RangeError);
    expect(asked).toEqual([]);
  });

  it.each<[string, unknown, RegExp]>([
    ["a map that is none", { weight_map: 5 }, /weight_map/],
    ["a file that is no text", { weight_map: { a: 5 } }, /a file for a/],
    [
      "a tensor that its shard lacks",
      { weight_map: { b: "model-00001-of-00002.safetensors" } },
      /"b" in model-00001/,
    ],
  ])("refuses %s", async (_, wrong, message) => {
    await expect(openSafetensors(wrong as typeof index, { open: openShard })).rejects.toThrow(message);
  });
});

describe("loadInto", () => {
  const layersOf = async (n: number, features = 2) => {
    const { BatchNorm } = await load();
    return Array.from({ length: n }, () => new BatchNorm(features));
  };
  const norm = (i: number) => ({ weight: Float32Array.of(i, i + 0.5), bias: Float32Array.of(-i, 0) });
  const statistics = (i: number) => ({
    running_mean: Float32Array.of(i, 1),
    running_var: Float32Array.of(1, i + 1),
  });
  /** A checkpoint whose layers lie under these names, with these spellings. */
  const written = (names: string[], spelling: Record<string, string> = {}) =>
    saveSafetensors(
      Object.fromEntries(
        names.flatMap((name, i) =>
          Object.entries({ ...norm(i), ...statistics(i) }).map(([key, array]) => [
            name.includes("?") ? name.replace("?", spelling[key] ?? key) : `${name}.${spelling[key] ?? key}`,
            array,
          ]),
        ),
      ),
    );

  it("fills layers by a pattern, 2 before 10, and reads nothing else", async () => {
    const names = Array.from({ length: 12 }, (_, i) => `bert.encoder.layer.${i}.norm`);
    const bytes = written(names);
    const layers = await layersOf(12);
    const source = watched(bytes);
    const opened = await openSafetensors(source);
    source.reads.length = 0;
    expect(await loadInto({ "bert.encoder.layer.*.norm": layers }, opened)).toEqual({
      missing: [],
      unexpected: [],
    });
    expect(source.reads).toHaveLength(12 * 4);
    layers.forEach((layer, i) => {
      expect(layer.gamma!.data).toEqual(norm(i).weight);
      expect([...layer.runningVar]).toEqual([1, i + 1]);
    });
  });

  it.each<[string, (layers: unknown[]) => [unknown, unknown?]]>([
    ["layers by pattern", (layers) => [{ "a.*.n": layers }]],
    ["a pattern beside layers", (layers) => [layers, "a.*.n"]],
    ["a pattern over many parts", (layers) => [layers, "**.n"]],
    ["a name for each", (layers) => [layers, ["a.0.n", "a.1.n"]]],
    ["layers by pattern, behind", (layers) => [layers, { "a.*.n": layers }]],
    [
      "names by the layers' own",
      ([x, y]) => [
        { first: x, second: y },
        { first: "a.0.n", second: "a.1.n" },
      ],
    ],
    ["layers by name", ([x, y]) => [{ "a.0.n": x, a: { "1": { n: y } } }]],
    [
      "a Map",
      ([x, y]) => [
        new Map([
          ["a.0.n", x],
          ["a.1.n", y],
        ]),
      ],
    ],
  ])("takes %s", async (_, call) => {
    const layers = await layersOf(2);
    const [first, names] = call(layers);
    await loadInto(first as never, written(["a.0.n", "a.1.n"]), names as never);
    layers.forEach((layer, i) => {
      expect(layer.gamma!.data).toEqual(norm(i).weight);
    });
  });

  it.each<[string, Record<string, string>, string]>([
    ["PyTorch", {}, "m.norm"],
    [
      "Keras",
      { weight: "gamma", bias: "beta", running_mean: "moving_mean", running_var: "moving_variance" },
      "m.norm",
    ],
    [
      "TensorFlow",
      { weight: "gamma:0", bias: "beta:0", running_mean: "moving_mean:0", running_var: "moving_variance:0" },
      "m/norm/?",
    ],
    ["Flax", { weight: "scale", bias: "bias", running_mean: "mean", running_var: "var" }, "m/norm/?"],
    ["Haiku", { weight: "scale", bias: "offset" }, "m/norm/?"],
  ])("knows the spelling of %s", async (_, spelling, name) => {
    const [layer] = await layersOf(1);
    await loadInto({ "m.norm": layer! }, written([name], spelling));
    expect(layer!.gamma!.data).toEqual(norm(0).weight);
    expect(layer!.beta!.data).toEqual(norm(0).bias);
    expect([...layer!.runningVar]).toEqual([1, 1]);
  });

  it.each([
    "module.norm",
    "model.norm",
    "_orig_mod.norm",
    "module._orig_mod.model.norm",
    "state_dict.model.norm",
  ])("finds norm in %s", async (name) => {
    const [layer] = await layersOf(1);
    await loadInto({ norm: layer! }, written([name, "other.norm2"]));
    expect(layer!.gamma!.data).toEqual(norm(0).weight);
  });

  it("joins what Flax keeps in two places", async () => {
    const [layer] = await layersOf(1);
    const { weight, bias } = norm(3);
    const { running_mean, running_var } = statistics(3);
    await loadInto(
      { BatchNorm_0: layer! },
      saveSafetensors({
        "params/BatchNorm_0/scale": weight,
        "params/BatchNorm_0/bias": bias,
        "batch_stats/BatchNorm_0/mean": running_mean,
        "batch_stats/BatchNorm_0/var": running_var,
      }),
    );
    expect(layer!.gamma!.data).toEqual(weight);
    expect([...layer!.runningMean]).toEqual([...running_mean]);
  });

  it("takes the name as it stands before any that is wrapped", async () => {
    const [layer] = await layersOf(1);
    await loadInto({ norm: layer! }, written(["model.norm", "norm"]));
    expect(layer!.gamma!.data).toEqual(norm(1).weight);
    await expect(loadInto({ norm: layer! }, written(["model.norm", "module.norm"]))).rejects.toThrow(
      /as well/,
    );
  });

  it("takes bytes, a URL, a handle, a sharded index's file and a state dict", async () => {
    const bytes = written(["norm"]);
    host.files.set("/norm.safetensors", bytes);
    const files = [
      bytes,
      new Blob([bytes]),
      `${host.url}/norm.safetensors`,
      watched(bytes),
      loadSafetensors(bytes),
    ];
    for (const from of [
      ...files,
      new Map(Object.entries(loadSafetensors(bytes))),
      await openSafetensors(bytes),
    ]) {
      const [layer] = await layersOf(1);
      await loadInto({ norm: layer! }, from as Uint8Array);
      expect(layer!.beta!.data).toEqual(norm(0).bias);
    }
  });

  it("changes all layers or none, and says what is missing", async () => {
    const bytes = saveSafetensors({
      "a.0.weight": Float32Array.of(5, 6),
      "a.0.bias": Float32Array.of(5, 6),
      "a.1.weight": Float32Array.of(5, 6),
    });
    const { LayerNorm } = await load();
    const layers = [new LayerNorm(2), new LayerNorm(2)];
    await expect(loadInto({ "a.*": layers }, bytes)).rejects.toThrow(
      /^loadInto: expected entries a\.1\.bias, which are missing, got .*a\.0\.weight/,
    );
    for (const layer of layers) expect(layer.gamma!.data).toEqual(Float32Array.of(1, 1));
    expect(await loadInto({ "a.*": layers }, bytes, undefined, { strict: false })).toEqual({
      missing: ["a.1.bias"],
      unexpected: [],
    });
    for (const layer of layers) expect(layer.gamma!.data).toEqual(Float32Array.of(5, 6));
    const plain = new LayerNorm(2, { affine: false });
    expect(await loadInto({ "a.0": plain }, bytes, undefined, { strict: false })).toEqual({
      missing: [],
      unexpected: ["a.0.weight", "a.0.bias"],
    });
    const wrong = [new LayerNorm(2), new LayerNorm(3)];
    await expect(loadInto(wrong, bytes, "a.*", { strict: false })).rejects.toThrow(
      /^loadInto: a\.1: LayerNorm.*weight to have 3 values, got 2$/,
    );
    expect(wrong[0]!.gamma!.data).toEqual(Float32Array.of(1, 1));
  });

  it("refuses names that fit nothing, and other numbers of layers", async () => {
    const layers = await layersOf(2);
    const bytes = written(["a.0", "a.1", "a.2"]);
    await expect(loadInto({ "b.*": layers }, bytes)).rejects.toThrow(
      /expected a layer in the file that fits, .*a\.0\.weight.*, got "b\.\*"$/,
    );
    await expect(loadInto({ "a.*": layers }, bytes)).rejects.toThrow(
      /as many layers as "a\.\*" fits in the file \(a\.0, a\.1, a\.2\), got 2$/,
    );
    await expect(loadInto(layers, bytes, ["a.0"])).rejects.toThrow(/a name for each of 2 layers/);
    await expect(loadInto(layers, bytes, [1, 2] as never)).rejects.toThrow(TypeError);
    await expect(loadInto(5 as never, bytes, "a.*")).rejects.toThrow(TypeError);
    await expect(loadInto({ x: layers[0]! }, bytes, { y: "a.0" })).rejects.toThrow(
      /names for layers, which are x/,
    );
  });
});
