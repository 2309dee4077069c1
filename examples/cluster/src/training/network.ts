import { SGD } from "wasm-norm";
import { type Collective, SyncBatchNorm, syncGradients } from "wasm-norm/collective";
import { CLASSES, type Digits, PIXELS, pick } from "../../../digits/data.ts";
import { Dense, Sigmoid, softmaxCrossEntropy } from "../../../digits/network.ts";
import { seededRandom, shuffle } from "../../../digits/random.ts";

export interface Settings {
  seed: number;
  epochs: number;
  batchSize: number;
  hidden: readonly number[];
  learningRate: number;
  momentum: number;
}

/** Those of examples/digits, whose network this is. */
export const SETTINGS: Settings = {
  seed: 1,
  epochs: 5,
  batchSize: 64,
  hidden: [64, 64, 64],
  learningRate: 0.3,
  momentum: 0.9,
};

/** Dense, batch normalization over all ranks, sigmoid; as often as there are hidden layers; and a dense layer. */
class Network {
  readonly #hidden: { dense: Dense; norm: SyncBatchNorm; sigmoid: Sigmoid }[];
  readonly #output: Dense;

  constructor({ seed, hidden }: Settings, collective: Collective) {
    // Each rank draws the same weights.
    const random = seededRandom(seed);
    const sizes = [PIXELS, ...hidden];
    this.#hidden = hidden.map((units, layer) => ({
      dense: new Dense(sizes[layer]!, units, random, false),
      norm: new SyncBatchNorm(units, { collective }),
      sigmoid: new Sigmoid(),
    }));
    this.#output = new Dense(sizes.at(-1)!, CLASSES, random, true);
  }

  weights() {
    return [...this.#hidden.flatMap(({ dense }) => dense.parameters()), ...this.#output.parameters()];
  }

  norms() {
    return this.#hidden.flatMap(({ norm }) => norm.parameters());
  }

  async forward(x: Float32Array): Promise<Float32Array> {
    let a = x;
    for (const { dense, norm, sigmoid } of this.#hidden)
      a = sigmoid.forward(await norm.forward(dense.forward(a)));
    return this.#output.forward(a);
  }

  async backward(dlogits: Float32Array): Promise<void> {
    let da = this.#output.backward(dlogits)!;
    for (const [layer, { dense, norm, sigmoid }] of [...this.#hidden.entries()].reverse()) {
      da = dense.backward(await norm.backward(sigmoid.backward(da)), layer > 0) ?? da;
    }
  }
}

/** Trains on the digits, each rank on its part of each minibatch; yields each minibatch's loss before the step. */
export async function* train(collective: Collective, digits: Digits, settings: Settings = SETTINGS) {
  const { seed, epochs, batchSize, learningRate: lr, momentum } = settings;
  const { rank, size } = collective;
  const network = new Network(settings, collective);
  const optimizer = new SGD([...network.weights(), ...network.norms()], { lr, momentum });
  const rowOrder = seededRandom(seed + 1_000_003);
  const order = Uint32Array.from({ length: digits.rows }, (_, row) => row);
  const cut = (at: number) => Math.floor((at * batchSize) / size);
  for (let epoch = 1; epoch <= epochs; epoch++) {
    shuffle(order, rowOrder);
    for (let start = 0; start + batchSize <= digits.rows; start += batchSize) {
      const own = pick(digits, order.subarray(start + cut(rank), start + cut(rank + 1)));
      optimizer.zeroGrad();
      const { loss, dlogits } = softmaxCrossEntropy(await network.forward(own.pixels), own.labels);
      // The loss is a mean over the rows of all ranks: each rank's rows have their share of it.
      const share = own.rows / batchSize;
      await network.backward(dlogits.map((value) => value * share));
      await syncGradients(network.weights(), collective);
      optimizer.step();
      yield { epoch, loss: await sum(loss * share, collective) };
    }
  }
}

/** The sum of a number of each rank. */
async function sum(value: number, collective: Collective): Promise<number> {
  const own = new DataView(new ArrayBuffer(8));
  own.setFloat64(0, value);
  const all = await collective.allGather(new Uint8Array(own.buffer));
  return all.reduce((total, bytes) => total + new DataView(bytes.buffer, bytes.byteOffset).getFloat64(0), 0);
}
