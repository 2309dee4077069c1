/** Statistics of a column as they are defined: two passes in float64, sums compensated (Neumaier 1974). */
export interface Reference {
  count: number;
  mean: number;
  variance: number;
}

function sum(values: number[]): number {
  let total = 0;
  let lost = 0;
  for (const value of values) {
    const next = total + value;
    lost += Math.abs(total) >= Math.abs(value) ? total - next + value : value - next + total;
    total = next;
  }
  return total + lost;
}

export function reference(column: ArrayLike<number>, weights?: ArrayLike<number>): Reference {
  const rows = Array.from(column, (value, row) => ({ value, weight: weights ? weights[row]! : 1 })).filter(
    ({ value, weight }) => !Number.isNaN(value) && weight > 0,
  );
  const count = sum(rows.map(({ weight }) => weight));
  const meanFrom = (about: number) =>
    about + sum(rows.map(({ value, weight }) => weight * (value - about))) / count;
  // From the first value, which makes a constant's mean exact, and from there, which makes it so for all others.
  const mean = meanFrom(meanFrom(rows[0]?.value ?? Number.NaN));
  const variance = sum(rows.map(({ value, weight }) => weight * (value - mean) ** 2)) / count;
  return { count, mean, variance };
}

export const columnOf = (x: ArrayLike<number>, features: number, j: number): number[] =>
  Array.from({ length: x.length / features }, (_, row) => x[row * features + j]!);

/** Numbers from 0 to 1, the same ones from the same seed (a linear congruential generator, as in golden/scaler.py). */
export function uniforms(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** One unit of float32, as in the numerics contract. */
export const U = 2 ** -23;
