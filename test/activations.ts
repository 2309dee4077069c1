/** Activations in float64, from their definitions; where those cancel, in the form that does not. */

/** The sum of `2^n x^(2n+1) / (2n+1)!!`: all of one sign. */
function erfSeries(x: number): number {
  let term = x;
  let sum = x;
  for (let n = 1; n < 200 && Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

/** erfc(x) for x > 0 by its continued fraction (Abramowitz and Stegun 7.1.14), times `e^(x^2)`. */
function erfcxFraction(x: number): number {
  let tail = x;
  for (let n = Math.ceil(30 + 400 / (x * x)); n > 0; n--) tail = x + n / 2 / tail;
  return 1 / (tail * Math.sqrt(Math.PI));
}

export function erfc(x: number): number {
  if (x < -6) return 2;
  if (x < 1.5) return 1 - erfSeries(x);
  return Math.exp(-x * x) * erfcxFraction(x);
}

export const erf = (x: number): number =>
  Math.abs(x) < 1.5 ? erfSeries(x) : Math.sign(x) * (1 - erfc(Math.abs(x)));

const sigmoid = (z: number): number => 1 / (1 + Math.exp(-z));
/** The normal distribution. */
const phi = (z: number): number => erfc(-z / Math.SQRT2) / 2;
const density = (z: number): number => Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);
/** 2 sqrt(2 / pi) (z + 0.044715 z^3): `(1 + tanh(u / 2)) / 2` is `sigmoid(u)`. */
const cubic = (z: number): number => 2 * Math.sqrt(2 / Math.PI) * (z + 0.044715 * z ** 3);

interface Activation {
  readonly value: (z: number) => number;
  readonly slope: (z: number) => number;
}

/** In the kernels' order. */
export const ACTIVATIONS = {
  none: { value: (z) => z, slope: () => 1 },
  relu: { value: (z) => Math.max(z, 0), slope: (z) => (z <= 0 ? 0 : 1) },
  relu6: { value: (z) => (z <= 0 ? 0 : Math.min(z, 6)), slope: (z) => (z <= 0 || z >= 6 ? 0 : 1) },
  "leaky-relu": { value: (z) => (z > 0 ? z : 0.01 * z), slope: (z) => (z > 0 ? 1 : 0.01) },
  silu: { value: (z) => z * sigmoid(z), slope: (z) => sigmoid(z) * (1 + z * sigmoid(-z)) },
  gelu: { value: (z) => z * phi(z), slope: (z) => phi(z) + z * density(z) },
  "gelu-tanh": {
    value: (z) => z * sigmoid(cubic(z)),
    slope: (z) =>
      sigmoid(cubic(z)) *
      (1 + z * sigmoid(-cubic(z)) * 2 * Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * z * z)),
  },
  hardswish: {
    value: (z) => (z * Math.min(Math.max(z + 3, 0), 6)) / 6,
    slope: (z) => (z < -3 ? 0 : z < 3 ? z / 3 + 0.5 : 1),
  },
  sigmoid: { value: sigmoid, slope: (z) => sigmoid(z) * sigmoid(-z) },
  tanh: { value: Math.tanh, slope: (z) => 1 / Math.cosh(z) ** 2 },
} as const satisfies Record<string, Activation>;

export type ActivationName = keyof typeof ACTIVATIONS;
export const NAMES = Object.keys(ACTIVATIONS) as ActivationName[];
