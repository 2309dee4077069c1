// What the calls built on a collective send: a description of the call, which must be the same on all ranks, and float64
// values. All ranks see all descriptions, so that all come to the same error.
import { CollectiveError, nameRanks } from "./error.js";
import { mostCommon } from "./ranks.js";
import type { Collective } from "./types.js";

/** The version of what is exchanged, not of the package. */
const EXCHANGE = 1;

/** What kind of call it is, with all that must agree. */
export type Description = Record<string, string | number | boolean | null>;

/** A length, the description in ASCII, padding to 8 bytes, the values. */
function pack(description: string, values: Float64Array): Uint8Array {
  const start = Math.ceil((4 + description.length) / 8) * 8;
  const bytes = new Uint8Array(start + 8 * values.length);
  new DataView(bytes.buffer).setUint32(0, description.length, true);
  for (let i = 0; i < description.length; i++) bytes[4 + i] = description.charCodeAt(i);
  bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), start);
  return bytes;
}

function unpack(bytes: Uint8Array): { description: string; values: Float64Array } {
  const copy = new Uint8Array(bytes);
  const length = copy.length >= 4 ? new DataView(copy.buffer).getUint32(0, true) : 0;
  const start = Math.ceil((4 + length) / 8) * 8;
  if (start > copy.length) return { description: "{}", values: new Float64Array(0) };
  const description = Array.from(copy.subarray(4, 4 + length), (code) => String.fromCharCode(code)).join("");
  return { description, values: new Float64Array(copy.buffer, start, (copy.length - start) >> 3) };
}

function startsAlike(a: Uint8Array, b: Uint8Array, length: number): boolean {
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return false;
  return true;
}

function parse(description: string): Description {
  try {
    return JSON.parse(description) as Description;
  } catch {
    return {};
  }
}

/**
 * The values of all ranks, by rank. In `description`, a field whose value is null fits any.
 *
 * @throws CollectiveError on all ranks, where a rank is missing or describes its call otherwise
 */
export async function exchange(
  who: string,
  collective: Collective,
  description: Description,
  values: Float64Array,
): Promise<Float64Array[]> {
  const own: Description = { version: EXCHANGE, ...description, values: values.length };
  const packed = pack(JSON.stringify(own), values);
  const parts = await collective.allGather(packed);
  const start = packed.length - values.byteLength;
  // As a rule all say the same, which bytes show sooner than words.
  if (parts.every((part) => part.length === packed.length && startsAlike(part, packed, start))) {
    return parts.map((part) => new Float64Array(new Uint8Array(part.subarray(start)).buffer));
  }
  const gathered = parts.map(unpack);
  const all = gathered.map((one) => parse(one.description));
  for (const field of new Set(all.flatMap((one) => Object.keys(one)))) {
    const said = all.map((one) => one[field]);
    const definite = said.filter((value) => value !== null);
    if (definite.length === 0) continue;
    const common = mostCommon(definite);
    const odd = said.flatMap((value, rank) => (value === null || value === common ? [] : [rank]));
    if (odd.length === 0) continue;
    const got = odd.map((rank) => said[rank] ?? "none").join(", ");
    throw new CollectiveError(
      "mismatch",
      odd,
      typeof description.step === "number" ? description.step : Number.NaN,
      `${who}: expected ${field} ${common} on all ${collective.size} ranks, got ${got} on ${nameRanks(odd)}`,
    );
  }
  return gathered.map((one) => one.values);
}
