/** The decoder of examples/transformer in float64, position by position as the formulas are written. */
import type { Sizes } from "../examples/transformer/decoder.ts";

const EPS = 1e-6;

type Row = number[];

/** `W x`, W [outputs, inputs] in one row. */
function times(w: Float64Array, x: Row): Row {
  const outputs = w.length / x.length;
  return Array.from({ length: outputs }, (_, o) =>
    x.reduce((sum, value, i) => sum + w[o * x.length + i]! * value, 0),
  );
}

function rmsNorm(x: Row, gamma: Float64Array): Row {
  const square = x.reduce((sum, value) => sum + value * value, 0) / x.length;
  return x.map((value, c) => (gamma[c]! * value) / Math.sqrt(square + EPS));
}

function softmax(x: Row): Row {
  const total = x.reduce((sum, value) => sum + Math.exp(value), 0);
  return x.map((value) => Math.exp(value) / total);
}

const silu = (x: number) => x / (1 + Math.exp(-x));
const plus = (a: Row, b: Row): Row => a.map((value, c) => value + b[c]!);

/** Each position's attention over itself and those before it. */
function attention(rows: Row[], heads: number): Row[] {
  const width = rows[0]!.length / 3;
  const size = width / heads;
  return rows.map((row, i) =>
    Array.from({ length: heads }, (_, head) => {
      const slope = 2 ** ((-8 * (head + 1)) / heads);
      const part = (of: Row, which: number) =>
        of.slice(which * width + head * size, which * width + (head + 1) * size);
      const q = part(row, 0);
      const seen = rows.slice(0, i + 1);
      const weights = softmax(
        seen.map((other, j) => {
          const product = q.reduce((sum, value, c) => sum + value * part(other, 1)[c]!, 0);
          return product / Math.sqrt(size) - slope * (i - j);
        }),
      );
      return q.map((_, c) => seen.reduce((sum, other, j) => sum + weights[j]! * part(other, 2)[c]!, 0));
    }).flat(),
  );
}

/**
 * The mean cross-entropy of one example after the other.
 *
 * @param parameters as `Decoder.parameters()` orders them
 */
export function decoderLoss(
  parameters: Float64Array[],
  { context, heads, width, blocks, hidden }: Sizes,
  inputs: Uint8Array,
  targets: Uint8Array,
): number {
  const matrices = parameters.slice(0, 4 * blocks);
  const [head, characters, positions, ...gammas] = parameters.slice(4 * blocks) as [
    Float64Array,
    Float64Array,
    Float64Array,
    ...Float64Array[],
  ];
  const row = (table: Float64Array, i: number): Row => [...table.subarray(i * width, (i + 1) * width)];
  let loss = 0;
  for (let start = 0; start < inputs.length; start += context) {
    let stream = Array.from({ length: context }, (_, i) =>
      plus(row(characters, inputs[start + i]!), row(positions, i)),
    );
    for (let block = 0; block < blocks; block++) {
      const [qkv, out, up, down] = matrices.slice(4 * block, 4 * block + 4) as [
        Float64Array,
        Float64Array,
        Float64Array,
        Float64Array,
      ];
      const attended = attention(
        stream.map((x) => times(qkv, rmsNorm(x, gammas[2 * block]!))),
        heads,
      );
      stream = stream.map((x, i) => plus(x, times(out, attended[i]!)));
      stream = stream.map((x) => {
        const both = times(up, rmsNorm(x, gammas[2 * block + 1]!));
        const units = both.slice(0, hidden).map((gate, c) => silu(gate) * both[hidden + c]!);
        return plus(x, times(down, units));
      });
    }
    stream.forEach((x, i) => {
      const p = softmax(times(head, rmsNorm(x, gammas[2 * blocks]!)));
      loss -= Math.log(p[targets[start + i]!]!) / inputs.length;
    });
  }
  return loss;
}
