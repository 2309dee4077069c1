// What a message looks like. All numbers are little-endian, 32 bits:
//
//    0 magic | 4 checksum of all that follows | 8 version | 12 epoch | 16 rank | 20 size
//   24 kind  | 28 step   | 32 nonce, 64 bits              | 40 history | 44 part | 48 parts | 52 payload ...
//
// The first 24 bytes are the same in every version, so that each can tell another from noise.
import { crc32 } from "./crc32.js";

const MAGIC = 0x4c434e57; // "WNCL"
export const VERSION = 1;
export const HEADER_BYTES = 52;

export enum Kind {
  /** A rank's bytes for a step, or a part of them. */
  Data = 1,
  /** Asks for the data of the ranks in the set; `part` counts the attempts. */
  Request = 2,
  /** The deadline is near, and the ranks in the set are missing; whoever has their data sends it now. */
  Verdict = 3,
  /** The step failed for the sender, for want of the ranks in the set. */
  Failed = 4,
  /** The group cannot go on in this epoch: `part` is the reason, the set says whose. */
  Broken = 5,
  /** The sender has done `step` steps and wants to go. */
  Leaving = 6,
  /** The sender has done `step` steps. */
  Progress = 7,
}

export interface Header {
  epoch: number;
  /** Who wrote the message: not who passes it on. */
  rank: number;
  size: number;
  kind: Kind;
  step: number;
  /** Drawn once by each process: tells a duplicate from another process under the same rank. */
  nonce: bigint;
  /** Checksum over all steps before this one, equal on all ranks. */
  history: number;
  part: number;
  parts: number;
}

export interface Message extends Header {
  payload: Uint8Array;
  /** The whole message, as it came. */
  raw: Uint8Array;
}

export function encode(header: Header, payload: Uint8Array): Uint8Array {
  const raw = new Uint8Array(HEADER_BYTES + payload.length);
  const view = new DataView(raw.buffer);
  const { epoch, rank, size, kind, step, nonce, history, part, parts } = header;
  view.setUint32(0, MAGIC, true);
  view.setUint32(8, VERSION, true);
  view.setUint32(12, epoch, true);
  view.setUint32(16, rank, true);
  view.setUint32(20, size, true);
  view.setUint32(24, kind, true);
  view.setUint32(28, step, true);
  view.setBigUint64(32, nonce, true);
  view.setUint32(40, history, true);
  view.setUint32(44, part, true);
  view.setUint32(48, parts, true);
  raw.set(payload, HEADER_BYTES);
  view.setUint32(4, crc32(raw.subarray(8)), true);
  return raw;
}

/** The checksum that a message bears. */
export const checksumOf = (raw: Uint8Array): Uint8Array => raw.subarray(4, 8);

/** A message; the rank and epoch of one in another version; or nothing, where the bytes are noise. */
export function decode(raw: Uint8Array): Message | { foreign: number; epoch: number } | undefined {
  if (raw.length < 24) return undefined;
  const view = new DataView(raw.buffer, raw.byteOffset, raw.length);
  if (view.getUint32(0, true) !== MAGIC || view.getUint32(4, true) !== crc32(raw.subarray(8)))
    return undefined;
  const epoch = view.getUint32(12, true);
  const rank = view.getUint32(16, true);
  if (view.getUint32(8, true) !== VERSION) return { foreign: rank, epoch };
  if (raw.length < HEADER_BYTES) return undefined;
  return {
    epoch,
    rank,
    size: view.getUint32(20, true),
    kind: view.getUint32(24, true),
    step: view.getUint32(28, true),
    nonce: view.getBigUint64(32, true),
    history: view.getUint32(40, true),
    part: view.getUint32(44, true),
    parts: view.getUint32(48, true),
    payload: raw.subarray(HEADER_BYTES),
    raw,
  };
}

/** A set of ranks, a bit each. */
export function encodeRanks(ranks: readonly number[], size: number): Uint8Array {
  const bits = new Uint8Array(Math.ceil(size / 8));
  for (const rank of ranks) bits[rank >> 3]! |= 1 << (rank & 7);
  return bits;
}

export function decodeRanks(bits: Uint8Array, size: number): number[] {
  const ranks: number[] = [];
  for (let rank = 0; rank < size; rank++) if ((bits[rank >> 3] ?? 0) & (1 << (rank & 7))) ranks.push(rank);
  return ranks;
}
