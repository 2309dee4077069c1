// A short training run and the checksum of all that it leaves behind: the same bits from the simd binary on every
// engine. Everything outside the package is sums, products and comparisons of doubles, which IEEE 754 fixes; the
// engines' own exp, tanh or pow would differ.
import { seeded } from "./random.js";

const ROWS = 23;
const STEPS = 40;

/** out[n, m] = a[n, k] * b[k, m], each sum from left to right in double. */
function multiply(a, b, n, k, m) {
  const out = new Float32Array(n * m);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < m; j++) {
      let sum = 0;
      for (let l = 0; l < k; l++) sum += a[i * k + l] * b[l * m + j];
      out[i * m + j] = sum;
    }
  }
  return out;
}

function transpose(a, n, m) {
  return Float32Array.from(a, (_, at) => a[(at % n) * m + Math.floor(at / n)]);
}

/** FNV-1a over the bytes of the arrays, in hex. */
function fnv(arrays) {
  let hash = 0x811c9dc5;
  for (const array of arrays) {
    for (const byte of new Uint8Array(array.buffer, array.byteOffset, array.byteLength)) {
      hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
    }
  }
  return hash.toString(16).padStart(8, "0");
}

/**
 * Trains a dense layer under each normalization in turn, with SGD and AdamW, and gives the checksum of its weights,
 * gamma, beta and running statistics. `library` is the package, with nothing or `init({ variant })` called before.
 */
export function checksum({ AdamW, BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm, SGD }) {
  const random = seeded(7);
  const normal = (n) => Float32Array.from({ length: n }, () => random() + random() + random() - 1.5);
  const [inputs, features] = [5, 12];
  const layers = [
    new BatchNorm(features),
    new BatchNorm(3, { layout: "channels-first", momentum: null }),
    new LayerNorm(features),
    new RMSNorm(features),
    new GroupNorm(2, features, { layout: "channels-last" }),
    new InstanceNorm(3, { affine: true }),
  ];
  const left = [];
  for (const [index, layer] of layers.entries()) {
    const weight = { data: normal(inputs * features), grad: new Float32Array(inputs * features) };
    const parameters = [weight, ...layer.parameters()];
    const optimizer =
      index % 2 ? new AdamW(parameters, { lr: 0.01 }) : new SGD(parameters, { lr: 0.05, momentum: 0.9 });
    const shape =
      index === 1 || index === 5 ? [ROWS, 3, 4] : index === 4 ? [ROWS, 1, features] : [ROWS, features];
    for (let step = 0; step < STEPS; step++) {
      const x = normal(ROWS * inputs);
      const y = layer.forward(multiply(x, weight.data, ROWS, inputs, features), shape);
      const dy = Float32Array.from(y, (value, at) => (value - x[at % x.length]) / ROWS);
      optimizer.zeroGrad();
      const dh = layer.backward(dy);
      weight.grad.set(multiply(transpose(x, ROWS, inputs), dh, inputs, ROWS, features));
      optimizer.step();
    }
    layer.eval();
    left.push(...parameters.map(({ data }) => data));
    left.push(...Object.values(layer.stateDict()).filter((value) => value instanceof Float32Array));
    left.push(layer.forward(normal(ROWS * features), shape));
    layer.dispose();
  }
  if (!left.every((array) => array.every(Number.isFinite))) throw new Error("the training run diverged");
  return fnv(left);
}
