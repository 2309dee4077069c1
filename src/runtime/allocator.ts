import { checkInteger } from "../errors.js";

// A two-level segregated fit (Masmano et al., ECRTS 2004) whose bookkeeping lies outside the memory: a stray
// write through a Tensor's view cannot corrupt it, and 4 GiB of addresses need no header in them.
//
//   base                                                      end
//   | used | free | used | used |      free      | used | free |     neighbours linked by before, after
//             \________________________/   \________________|_ one list for each bin of free sizes
//
// @thi.ng/malloc 6.1 does not fit: its pool takes one buffer of fixed size (ours is replaced when memory
// grows), finds a block to free by walking the list of those in use, and is 2.2 kB minified and gzipped
// where this file is 0.9 kB.

/** Sizes and addresses are counted in units of this many bytes, a cache line. */
const UNIT = 64;

/** Each power of two of sizes is split into 2^5 bins, so that a bin's blocks differ by at most 1/32. */
const SPLIT = 5;

interface Block {
  start: number;
  size: number;
  used: boolean;
  /** The neighbours in memory. */
  before: Block | undefined;
  after: Block | undefined;
  /** The neighbours in the bin, of a free block. */
  previous: Block | undefined;
  following: Block | undefined;
}

/** Bits of a size that do not tell its bin: 0 below 64 units, where each size has a bin of its own. */
const blurOf = (size: number) => Math.max(0, 31 - SPLIT - Math.clz32(size));

const binOf = (size: number) => {
  const blur = blurOf(size);
  return (blur << SPLIT) + (size >> blur);
};

const lowestBit = (bits: number) => 31 - Math.clz32(bits & -bits);

/**
 * Hands out blocks of a range of addresses that starts at `base` and ends where `grow` refuses, each in constant
 * time unless memory has to grow. It knows nothing of WebAssembly: `grow(end)` is asked to make the addresses below
 * `end` usable, and throws where it cannot; nothing has changed then.
 */
export class Allocator {
  /** The bytes of all blocks in use, each a multiple of 64. */
  bytesInUse = 0;
  /** How many blocks are in use. */
  blocks = 0;

  readonly #grow: (end: number) => void;
  /**
   * The block that last was in use at a start. Entries are swept in bulk and not deleted one by one: V8's Map
   * rehashes over and over where one key comes and goes, 1.6 us a time among 700 others, 0.06 us without.
   */
  #starts = new Map<number, Block>();
  readonly #bins: (Block | undefined)[] = [];
  /** A bit for each bin that holds a block, 32 bins a word; and a bit for each word that is not 0. */
  readonly #words = new Int32Array(32);
  #summary = 0;
  #last: Block | undefined;
  #end: number;

  constructor(base: number, grow: (end: number) => void) {
    this.#end = Math.max(1, Math.ceil(base / UNIT));
    this.#grow = grow;
  }

  /** The first address that no block ever reached, in bytes. */
  get end(): number {
    return this.#end * UNIT;
  }

  /**
   * Returns the address of a block of at least `bytes` bytes, above 0 and a multiple of 64.
   *
   * @throws RangeError if `bytes` is no integer from 0 to 2^32, and whatever `grow` throws
   */
  alloc(bytes: number): number {
    const size = Math.max(1, Math.ceil(checkInteger("Allocator", "bytes", bytes, 0, 2 ** 32) / UNIT));
    let block = this.#find(size);
    if (block) this.#unlink(block);
    else block = this.#extend(size);
    if (block.size > size) {
      this.#link(this.#place(block.start + size, block.size - size, block));
      block.size = size;
    }
    if (this.#starts.size > 2 * this.blocks + 64) {
      this.#starts = new Map([...this.#starts].filter(([, { used }]) => used));
    }
    this.#starts.set(block.start, block);
    block.used = true;
    this.blocks++;
    this.bytesInUse += size * UNIT;
    return block.start * UNIT;
  }

  /**
   * Takes back a block by its address, and joins it with its free neighbours.
   *
   * @throws Error if no block in use starts there
   */
  free(address: number): void {
    let block = this.#starts.get(address / UNIT);
    if (!block?.used) throw new Error(`Allocator: expected a block in use, got ${address}`);
    block.used = false;
    this.blocks--;
    this.bytesInUse -= block.size * UNIT;
    const { before, after } = block;
    if (after && !after.used) {
      this.#unlink(after);
      this.#absorb(block, after);
    }
    if (before && !before.used) {
      this.#unlink(before);
      this.#absorb(before, block);
      block = before;
    }
    this.#link(block);
  }

  /**
   * A free block of at least `size` units: any of the first bin that holds no smaller ones, or, before memory
   * has to grow, one that happens to fit of the bin that does.
   */
  #find(size: number): Block | undefined {
    const bin = binOf(size + (1 << blurOf(size)) - 1);
    let word = bin >> SPLIT;
    let bits = this.#words[word]! & (-1 << bin);
    if (!bits) {
      word = lowestBit(this.#summary & (-2 << word));
      bits = this.#words[word] ?? 0;
    }
    let block = this.#bins[bits ? (word << SPLIT) + lowestBit(bits) : binOf(size)];
    while (block && block.size < size) block = block.following;
    return block;
  }

  /** Grows the heap by what a block of `size` units at its end lacks, and returns that block. */
  #extend(size: number): Block {
    const last = this.#last;
    const spare = last && !last.used ? last.size : 0;
    const end = this.#end + size - spare;
    this.#grow(end * UNIT);
    const start = this.#end;
    this.#end = end;
    if (!last || !spare) return this.#place(start, size, last);
    this.#unlink(last);
    last.size = size;
    return last;
  }

  /** A new block between `before` and what followed it. */
  #place(start: number, size: number, before: Block | undefined): Block {
    const after = before?.after;
    const block: Block = {
      start,
      size,
      used: false,
      before,
      after,
      previous: undefined,
      following: undefined,
    };
    if (before) before.after = block;
    if (after) after.before = block;
    else this.#last = block;
    return block;
  }

  /** Joins `right` to its neighbour; it may stay known by its start, and must not keep others alive. */
  #absorb(left: Block, right: Block): void {
    const { size, after } = right;
    left.size += size;
    left.after = after;
    if (after) after.before = left;
    else this.#last = left;
    right.before = right.after = undefined;
  }

  #link(block: Block): void {
    const bin = binOf(block.size);
    const following = this.#bins[bin];
    block.following = following;
    if (following) following.previous = block;
    this.#bins[bin] = block;
    this.#words[bin >> SPLIT]! |= 1 << bin;
    this.#summary |= 1 << (bin >> SPLIT);
  }

  #unlink(block: Block): void {
    const { previous, following } = block;
    block.previous = block.following = undefined;
    if (following) following.previous = previous;
    if (previous) {
      previous.following = following;
      return;
    }
    const bin = binOf(block.size);
    const word = bin >> SPLIT;
    this.#bins[bin] = following;
    if (!following && !(this.#words[word]! &= ~(1 << bin))) this.#summary &= ~(1 << word);
  }
}
