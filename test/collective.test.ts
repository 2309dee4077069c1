/** The protocol: every rank gets every rank's bytes, or all get the same error by the deadline. */
import { crc32 as zlibCrc32 } from "node:zlib";
import { afterEach, describe, expect, test } from "vitest";
import { crc32 } from "../src/collective/crc32.js";
import { decode, encode, Kind } from "../src/collective/wire.js";
import { CollectiveError, Group, meshPorts, portCollective } from "../src/collective.js";
import { bytesOf, type Faults, Network, outcomes, random } from "./collective/network.js";

let open: Group[] = [];
afterEach(async () => {
  await Promise.all(open.map((group) => group.close()));
  open = [];
});
const opened = (groups: Group[]): Group[] => {
  open.push(...groups);
  return groups;
};

const failure = (code: string, ranks: number[]) =>
  expect.objectContaining({ name: "CollectiveError", code, ranks });

test("the checksum is CRC-32", () => {
  // The check value of the standard's catalogue, and zlib's where Node has it.
  expect(crc32(new TextEncoder().encode("123456789"))).toBe(0xcbf43926);
  const next = random(3);
  for (let length = 0; length < 40; length++) {
    const bytes = Uint8Array.from({ length }, () => next() * 256);
    if (zlibCrc32) expect(crc32(bytes)).toBe(zlibCrc32(bytes));
    expect(crc32(bytes.subarray(length / 2), crc32(bytes.subarray(0, length / 2)))).toBe(crc32(bytes));
  }
});

describe.each([1, 2, 3, 5])("%i ranks", (size) => {
  const networks: Record<string, Faults> = {
    sound: {},
    "one that reorders": { delay: 4 },
    "one that repeats": { duplicates: 0.5, delay: 4 },
    "one that loses": { loss: 0.2 },
    "one that damages": { damage: 0.2 },
    "one with all faults, and short messages": {
      loss: 0.1,
      damage: 0.05,
      duplicates: 0.2,
      delay: 3,
      maxBytes: 80,
    },
  };
  test.each(Object.entries(networks))("gather over %s network", async (_, faults) => {
    const groups = opened(new Network(faults, size).groups(size, { deadline: 2000 }));
    const next = random(size);
    for (let step = 0; step < 8; step++) {
      const given = groups.map(() =>
        Uint8Array.from({ length: Math.floor(next() * 200) }, () => next() * 256),
      );
      const got = await Promise.all(groups.map((group, rank) => group.allGather(given[rank]!)));
      for (const parts of got) expect(parts).toEqual(given);
    }
    expect(groups.map((group) => group.step)).toEqual(groups.map(() => 8));
  });
});

test("what is given may change right after the call, what is got belongs to the caller", async () => {
  const groups = opened(new Network().groups(2));
  const given = bytesOf(1, 2);
  const calls = groups.map((group) => group.allGather(given));
  given.fill(9);
  const [a, b] = await Promise.all(calls);
  a![0]!.fill(7);
  expect(b).toEqual([bytesOf(1, 2), bytesOf(1, 2)]);
});

test("calls queue, and each takes the next step", async () => {
  const groups = opened(new Network({ delay: 3 }).groups(3));
  const calls = groups.map((group, rank) => [0, 1, 2].map((call) => group.allGather(bytesOf(call, rank))));
  for (const own of calls) {
    expect(await Promise.all(own)).toEqual(
      [0, 1, 2].map((call) => [0, 1, 2].map((rank) => bytesOf(call, rank))),
    );
  }
});

describe("a missing rank", () => {
  test("is the same error on all others, at the deadline", async () => {
    const groups = opened(new Network().groups(4, { deadline: 200 }));
    const start = performance.now();
    const calls = [0, 1, 3].map((rank) => groups[rank]!.allGather(bytesOf(rank)));
    expect(await outcomes(calls)).toEqual(calls.map(() => failure("timeout", [2])));
    const took = performance.now() - start;
    expect(took).toBeGreaterThan(195);
    expect(took).toBeLessThan(600);
    await expect(calls[0]).rejects.toThrow(
      /expected bytes of all 4 ranks within 200 ms, got none of rank 2 \(step 0\)/,
    );
  });

  test("that comes too late learns it, and all go on together", async () => {
    const groups = opened(new Network().groups(3, { deadline: 100 }));
    for (let step = 0; step < 3; step++) {
      const calls = [0, 1].map((rank) => groups[rank]!.allGather(bytesOf(step, rank)));
      expect(await outcomes(calls)).toEqual(calls.map(() => failure("timeout", [2])));
    }
    for (let step = 0; step < 3; step++) {
      expect(await outcomes([groups[2]!.allGather(bytesOf(step, 2))])).toEqual([failure("timeout", [2])]);
    }
    const got = await Promise.all(groups.map((group) => group.allGather(bytesOf(3, group.rank))));
    for (const parts of got) expect(parts).toEqual([0, 1, 2].map((rank) => bytesOf(3, rank)));
  });

  test("two of five", async () => {
    const groups = opened(new Network({ delay: 2, loss: 0.1 }).groups(5, { deadline: 400 }));
    const calls = [0, 2, 4].map((rank) => groups[rank]!.allGather(bytesOf(rank)));
    expect(await outcomes(calls)).toEqual(calls.map(() => failure("timeout", [1, 3])));
  });

  test("whose bytes reached only some has spoken: the others pass them on", async () => {
    const network = new Network();
    const transports = [0, 1, 2].map(() => network.transport());
    const groups = opened(
      transports.map((transport, rank) => new Group("Test", transport, { rank, size: 3, deadline: 500 })),
    );
    network.cut.add(transports[1]!);
    const late = groups[1]!.allGather(bytesOf(1));
    const lost = groups[2]!.allGather(bytesOf(2));
    // Rank 2 has sent its bytes to rank 0 alone, and is gone.
    await new Promise((resolve) => setTimeout(resolve, 5));
    network.cut.add(transports[2]!);
    network.cut.delete(transports[1]!);
    const calls = [groups[0]!.allGather(bytesOf(0)), late];
    expect(await Promise.all(calls)).toEqual(calls.map(() => [bytesOf(0), bytesOf(1), bytesOf(2)]));
    expect(await outcomes([lost])).toEqual([failure("timeout", [0, 1])]);
  });
});

describe("messages that change nothing", () => {
  test("all of a former epoch, all of former steps, noise", async () => {
    const network = new Network();
    const before = network.groups(3);
    for (let step = 0; step < 3; step++)
      await Promise.all(before.map((group) => group.allGather(bytesOf(step))));
    for (const group of before) await group.close();
    const old = network.sent.splice(0);

    const groups = opened(network.groups(3, { epoch: 1 }));
    const next = random(4);
    for (let step = 0; step < 4; step++) {
      const calls = groups.map((group) => group.allGather(bytesOf(40 + step, group.rank)));
      for (const message of [...old, ...network.sent.slice()]) network.inject(message);
      network.inject(Uint8Array.from({ length: 60 }, () => next() * 256));
      network.inject(new Uint8Array(3));
      for (const parts of await Promise.all(calls)) {
        expect(parts).toEqual([0, 1, 2].map((rank) => bytesOf(40 + step, rank)));
      }
    }
  });
});

describe("is over for all", () => {
  const all = (groups: Group[]) => outcomes(groups.map((group) => group.allGather(bytesOf(group.rank))));

  test("when a rank was started again within the epoch", async () => {
    const network = new Network();
    const groups = opened(network.groups(3));
    await all(groups);
    network.cut.clear();
    const again = opened([network.group({ rank: 2, size: 3, deadline: 500 })])[0]!;
    const calls = [groups[0]!, groups[1]!, again];
    expect((await all(calls)).slice(0, 2)).toEqual([failure("restarted", [2]), failure("restarted", [2])]);
    expect(await all(calls)).toEqual(calls.map(() => failure("restarted", [2])));
  });

  test("when two are of one rank, one size is another, one speaks another version", async () => {
    for (const [code, ranks, odd] of [
      ["restarted", [1], { rank: 1, size: 3 }],
      ["size", [1], { rank: 1, size: 4 }],
    ] as const) {
      const network = new Network();
      const groups = opened(network.groups(3));
      opened([network.group({ ...odd, deadline: 500 })]).map((group) =>
        group.allGather(bytesOf(1)).catch(() => {}),
      );
      // A rank may have heard the right one and finished the step before it heard the odd one.
      await all(groups);
      expect(await all(groups), code).toEqual(groups.map(() => failure(code, [...ranks])));
    }
    const network = new Network();
    const groups = opened(network.groups(2));
    const calls = all(groups.slice(0, 1));
    await new Promise((resolve) => setTimeout(resolve, 1));
    const foreign = network.sent[0]!.slice();
    foreign[8] = 2;
    foreign[16] = 1;
    network.inject(foreign);
    new DataView(foreign.buffer).setUint32(4, crc32(foreign.subarray(8)), true);
    network.inject(foreign);
    expect(await calls).toEqual([failure("version", [1])]);
  });

  test("when it fell behind: those in the later epoch go on", async () => {
    const network = new Network();
    const [old] = opened([network.group({ rank: 0, size: 2, epoch: 3, deadline: 500 })]);
    const call = outcomes([old!.allGather(bytesOf(0))]);
    const groups = opened(network.groups(2, { epoch: 4 }));
    expect(await all(groups)).toEqual(groups.map(() => [bytesOf(0), bytesOf(1)]));
    expect(await call).toEqual([failure("epoch", [0])]);
  });

  test("when one finished a step that another gave up", async () => {
    const network = new Network();
    const transports = [0, 1].map(() => network.transport());
    const groups = opened(
      transports.map((transport, rank) => new Group("Test", transport, { rank, size: 2, deadline: 100 })),
    );
    const first = groups[1]!.allGather(bytesOf(1));
    await new Promise((resolve) => setTimeout(resolve, 5));
    network.cut.add(transports[1]!); // has spoken, and hears nothing
    expect(await groups[0]!.allGather(bytesOf(0))).toHaveLength(2);
    expect(await outcomes([first])).toEqual([failure("timeout", [0])]);
    network.cut.clear();
    const second = await all(groups);
    expect(second).toEqual(second.map(() => expect.objectContaining({ code: "diverged" })));
    expect(await all(groups)).toEqual(second.map(() => expect.objectContaining({ code: "diverged" })));
  });

  test("when it is closed", async () => {
    const [group] = new Network().groups(1);
    await group!.close();
    await group!.close();
    expect(await all([group!])).toEqual([failure("closed", [0])]);
  });
});

test("who leaves waits for those who lack its bytes", async () => {
  const groups = new Network({ loss: 0.3 }, 9).groups(3, { deadline: 3000 });
  for (let step = 0; step < 5; step++) {
    const calls = groups.map((group) => group.allGather(bytesOf(step)));
    if (step < 4) await Promise.all(calls);
    else {
      // Each leaves as soon as it is done.
      const last = await Promise.all(
        calls.map(async (call, rank) => [await call, await groups[rank]!.close()]),
      );
      for (const [parts] of last) expect(parts).toHaveLength(3);
    }
  }
});

test("a transport that throws is a closed group", async () => {
  const { Group } = await import("../src/collective.js");
  const transport = {
    send: () => {
      throw new Error("connection closed");
    },
    listen: () => {},
    close: () => {},
  };
  const group = new Group("Test", transport, { rank: 0, size: 2, deadline: 100 });
  expect(await outcomes([group.allGather(bytesOf(1)), group.allGather(bytesOf(1))])).toEqual([
    failure("closed", [0]),
    failure("closed", [0]),
  ]);
});

describe("wrong arguments", () => {
  test("of a group", () => {
    const make = (options: unknown) => () => new Network().group(options as never);
    expect(make(undefined)).toThrow(TypeError);
    expect(make({ rank: 2, size: 2 })).toThrow(/Test: expected rank to be an integer from 0 to 1, got 2/);
    expect(make({ rank: 0, size: 0 })).toThrow(RangeError);
    expect(make({ rank: 0, size: 2, deadline: 0 })).toThrow(/deadline/);
    expect(make({ rank: 0, size: 2, epoch: -1 })).toThrow(/epoch/);
    expect(make({ rank: 0, size: 2, deadline: Number.NaN })).toThrow(RangeError);
  });

  test("of allGather", async () => {
    const [group] = opened(new Network().groups(1));
    await expect(group!.allGather([1] as never)).rejects.toThrow(
      /Test.allGather: expected bytes to be a Uint8Array/,
    );
    expect(group!.step).toBe(0);
  });

  test("of ports", () => {
    expect(() => portCollective([null], { rank: 0, size: 2 })).toThrow(/expected 2 ports/);
    expect(() => portCollective([null, {} as never], { rank: 0, size: 2 })).toThrow(/expected a MessagePort/);
  });
});

test("a damaged message is none, wherever the damage is", () => {
  const header = {
    epoch: 1,
    rank: 2,
    size: 3,
    kind: Kind.Data,
    step: 4,
    nonce: 5n,
    history: 6,
    part: 0,
    parts: 1,
  };
  const message = encode(header, bytesOf(1, 2, 3));
  expect(decode(message)).toMatchObject(header);
  for (let bit = 0; bit < 8 * message.length; bit++) {
    const damaged = message.slice();
    damaged[bit >> 3]! ^= 1 << (bit & 7);
    expect(decode(damaged)).toBeUndefined();
  }
  for (let length = 0; length < message.length; length++)
    expect(decode(message.subarray(0, length))).toBeUndefined();
});

describe("over ports", () => {
  test("MessagePorts of a mesh", async () => {
    const ports = meshPorts(3);
    const groups = opened(ports.map((own, rank) => portCollective(own, { rank, size: 3, deadline: 1000 })));
    for (let step = 0; step < 5; step++) {
      const got = await Promise.all(groups.map((group, rank) => group.allGather(bytesOf(step, rank))));
      for (const parts of got) expect(parts).toEqual([0, 1, 2].map((rank) => bytesOf(step, rank)));
    }
  });

  test("a BroadcastChannel", async () => {
    const groups = opened(
      [0, 1, 2].map((rank) =>
        portCollective(new BroadcastChannel("ranks"), { rank, size: 3, deadline: 1000 }),
      ),
    );
    const got = await Promise.all(groups.map((group, rank) => group.allGather(bytesOf(rank))));
    for (const parts of got) expect(parts).toEqual([0, 1, 2].map((rank) => bytesOf(rank)));
  });
});

test("errors are of one class with code, ranks and step", () => {
  const error = new CollectiveError("timeout", [1], 4, "words");
  expect(error).toBeInstanceOf(Error);
  expect({ ...error }).toMatchObject({ code: "timeout", ranks: [1], step: 4 });
});
