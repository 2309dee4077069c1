/**
 * What of linear memory belongs to someone: the blocks that the allocator has given out, to the byte, and the binary's
 * own data below them. One to each copy of the package.
 */

/** The allocator's blocks begin at multiples of this. */
export const UNIT = 64;

/** For each unit of memory the block that it belongs to, 0 for none, and how many of its first bytes do. */
let owner = new Int32Array(1 << 16);
let bytes = new Uint8Array(1 << 16);
let blocks = 0;
/** The first address that the allocator may give out. */
let base = 0;

export const begin = (start: number): void => {
  base = start;
};

export function give(address: number, size: number): void {
  const from = address / UNIT;
  const to = from + Math.ceil(size / UNIT);
  if (to > owner.length) {
    const grown = { owner: new Int32Array(2 * to), bytes: new Uint8Array(2 * to) };
    grown.owner.set(owner);
    grown.bytes.set(bytes);
    ({ owner, bytes } = grown);
  }
  owner.fill(++blocks, from, to);
  bytes.fill(UNIT, from, to);
  if (size % UNIT) bytes[to - 1] = size % UNIT;
}

export function take(address: number): void {
  const from = address / UNIT;
  const block = owner[from];
  for (let unit = from; block && owner[unit] === block; unit++) owner[unit] = bytes[unit] = 0;
}

export class OutOfBounds extends Error {
  override name = "OutOfBounds";
}

/** The import env.check. @throws OutOfBounds unless all `size` bytes from `address` belong to one block */
export function check(address: number, size: number): void {
  address >>>= 0;
  size >>>= 0;
  if (size === 0) return;
  const last = address + size - 1;
  if (last < base) return;
  const from = Math.floor(address / UNIT);
  const to = Math.floor(last / UNIT);
  const block = owner[from];
  const inside =
    block && owner[to] === block && last % UNIT < bytes[to]! && (to - from < 2 || oneBlock(from, to));
  if (!inside) throw new OutOfBounds(`${size} bytes at ${address} are not within one block`);
}

function oneBlock(from: number, to: number): boolean {
  for (let unit = from; unit <= to; unit++) if (owner[unit] !== owner[from]) return false;
  return true;
}
