// Shards that rank and parent can make, each for itself, and what normalization makes of them in float64.

export const FEATURES = 8;

/** mulberry32 */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What a rank has in a step: x and dy, of 0 to 5 rows. */
export function shard(seed: number, step: number, rank: number): { x: Float32Array; dy: Float32Array } {
  const next = random(seed * 1_000_003 + step * 1009 + rank);
  const rows = rank === 0 ? 2 : Math.floor(next() * 6);
  const values = () =>
    Float32Array.from({ length: rows * FEATURES }, (_, i) => 100 * (i % FEATURES) + next());
  return { x: values(), dy: values().map((value) => value % 1) };
}

export interface Wanted {
  /** By rank. */
  y: Float64Array[];
  dx: Float64Array[];
  /** What the numerics contract lets dx be off by. */
  allowed: Float64Array[];
  dgamma: Float64Array;
}

/** Batch normalization of all shards of a step as one minibatch, with gamma 1 and beta 0. */
export function wanted(seed: number, step: number, size: number): Wanted {
  const shards = Array.from({ length: size }, (_, rank) => shard(seed, step, rank));
  const y = shards.map(({ x }) => new Float64Array(x.length));
  const dx = shards.map(({ x }) => new Float64Array(x.length));
  const allowed = shards.map(({ x }) => new Float64Array(x.length));
  const dgamma = new Float64Array(FEATURES);
  for (let c = 0; c < FEATURES; c++) {
    const column = (of: (s: { x: Float32Array; dy: Float32Array }) => Float32Array) =>
      shards.flatMap((s) => Array.from(of(s)).filter((_, i) => i % FEATURES === c));
    const x = column((s) => s.x);
    const dy = column((s) => s.dy);
    const m = x.length;
    const mean = x.reduce((a, b) => a + b, 0) / m;
    const rstd = 1 / Math.sqrt(x.reduce((a, b) => a + (b - mean) ** 2, 0) / m + 1e-5);
    const sumDy = dy.reduce((a, b) => a + b, 0);
    const sumDyXhat = dy.reduce((a, b, i) => a + b * (x[i]! - mean) * rstd, 0);
    dgamma[c] = sumDyXhat;
    shards.forEach((s, rank) => {
      for (let i = c; i < s.x.length; i += FEATURES) {
        const xhat = (s.x[i]! - mean) * rstd;
        y[rank]![i] = xhat;
        const largest = Math.max(...dy.map(Math.abs));
        allowed[rank]![i] = 4 * 2 ** -23 * rstd * largest * Math.max(1, Math.abs(xhat));
        dx[rank]![i] = rstd * (s.dy[i]! - sumDy / m - (xhat * sumDyXhat) / m);
      }
    });
  }
  return { y, dx, allowed, dgamma };
}
