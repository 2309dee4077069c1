/** float16 and bfloat16 from their definitions, in float64: what their bits mean, and which of them is nearest to a number. */

export type Half = "float16" | "bfloat16";
export const HALVES: readonly Half[] = ["float16", "bfloat16"];
/** As the kernels number them. */
export const ELEMENT = { float16: 1, bfloat16: 2 } as const;

/** Bits of the fraction, and the exponent's bias. */
const FORMAT = { float16: { fraction: 10, bias: 15 }, bfloat16: { fraction: 7, bias: 127 } } as const;

/** What 16 bits mean. */
export function meaning(half: Half, bits: number): number {
  const { fraction, bias } = FORMAT[half];
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits & 0x7fff) >> fraction;
  const rest = bits & (2 ** fraction - 1);
  if (exponent === 2 * bias + 1) return rest ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  if (exponent === 0) return sign * rest * 2 ** (1 - bias - fraction);
  return sign * (1 + rest / 2 ** fraction) * 2 ** (exponent - bias);
}

/** Half the distance of neighbours at `x`. */
export function halfUnit(half: Half, x: number): number {
  const { fraction, bias } = FORMAT[half];
  const size = Math.abs(x);
  let exponent = size > 0 && size < Number.POSITIVE_INFINITY ? Math.floor(Math.log2(size)) : 1 - bias;
  if (2 ** exponent > size) exponent--;
  return 2 ** (Math.max(exponent, 1 - bias) - fraction - 1);
}

/** The nearest value of a type, ties to even; from the middle between the largest and what would come next on, infinity. */
export function nearest(half: Half, x: number): number {
  if (!Number.isFinite(x) || x === 0) return x;
  const { fraction, bias } = FORMAT[half];
  const unit = 2 * halfUnit(half, x);
  const units = x / unit;
  const below = Math.floor(units);
  const rest = units - below;
  const whole = rest > 0.5 || (rest === 0.5 && below % 2 !== 0) ? below + 1 : below;
  const value = whole * unit;
  const largest = (2 - 2 ** -fraction) * 2 ** bias;
  if (Math.abs(value) > largest) return Math.sign(x) * Number.POSITIVE_INFINITY;
  return value === 0 ? Math.sign(x) * 0 : value;
}

/** The bits of a value that the type has; of NaN one of them. */
export function bitsOf(half: Half, value: number): number {
  const { fraction, bias } = FORMAT[half];
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (Number.isNaN(size)) return ((2 * bias + 1) << fraction) | (1 << (fraction - 1));
  if (size === Number.POSITIVE_INFINITY) return sign | ((2 * bias + 1) << fraction);
  const unit = 2 * halfUnit(half, value);
  const exponent = Math.log2(unit) + fraction + bias;
  const units = size / unit;
  return sign | (units < 2 ** fraction ? units : (exponent << fraction) | (units - 2 ** fraction));
}
