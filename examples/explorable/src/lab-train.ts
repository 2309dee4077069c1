// The laboratory's training: the digits' network under any normalization, measured before the first epoch and after each.
import { type Parameter, SGD } from "wasm-norm";
import { CLASSES, type Digits, PIXELS, pick } from "../../digits/data.ts";
import { Dense, Sigmoid, softmaxCrossEntropy } from "../../digits/network.ts";
import { type Random, seededRandom, shuffle } from "../../digits/random.ts";
import { DEFAULTS } from "../../digits/train.ts";
import { nearest, type Shares, sharesOf, squaredGap } from "./lab-measures.ts";
import { type Normalization, normalization } from "./lab-norms.ts";
import type { Setting } from "./lab-settings.ts";

/** How a run stands after `epoch` epochs; 0 is before the first step. */
export interface Standing {
  epoch: number;
  /** Cross-entropy in nats over all training digits as one minibatch. */
  loss: number;
  /** The share of the test digits that is right, in evaluation mode. */
  accuracy: number;
  /** Root mean square of output minus input over all units and training digits, in each unit's deviations. */
  gap: number | null;
  /** Of the gradient at the normalized values: means over the layers and the epoch's steps. */
  shares: Shares | null;
}

class Hidden {
  readonly dense: Dense;
  readonly norm: Normalization | null;
  readonly #sigmoid = new Sigmoid();
  h = new Float32Array(0);
  y: Float32Array = this.h;
  dy: Float32Array = this.h;

  constructor(
    { normalization: id }: Setting,
    inputs: number,
    readonly units: number,
    random: Random,
  ) {
    // Over a minibatch the mean is subtracted right after: a bias would have no effect.
    const overMinibatch = id === "batch" || id === "ghost" || id === "renorm";
    this.dense = new Dense(inputs, units, random, !overMinibatch);
    this.norm = normalization(id, units);
  }

  forward(x: Float32Array, mode: "train" | "measure" | "use"): Float32Array {
    this.h = Float32Array.from(this.dense.forward(x));
    const { norm, h } = this;
    if (!norm) this.y = h;
    else this.y = mode === "use" ? norm.evaluate(h) : norm.forward(h, mode === "train");
    return this.#sigmoid.forward(this.y);
  }

  backward(da: Float32Array, wantsDx: boolean): Float32Array | null {
    this.dy = this.#sigmoid.backward(da);
    return this.dense.backward(this.norm ? this.norm.backward(this.dy) : this.dy, wantsDx);
  }

  parameters(): Parameter[] {
    const own = this.norm ? [this.norm.gamma, ...(this.norm.beta ? [this.norm.beta] : [])] : [];
    return [...this.dense.parameters(), ...own];
  }

  shares(): Shares | null {
    if (!this.norm) return null;
    const gamma = this.norm.gamma.data;
    const atXhat = this.dy.map((value, i) => value * gamma[i % this.units]!);
    return sharesOf(this.h, atXhat, this.norm.groups(this.h.length / this.units));
  }

  /** Sets gamma and beta to where output and input are nearest for these rows. */
  undo(x: Float32Array): void {
    if (!this.norm) return;
    this.norm.gamma.data.fill(1);
    this.norm.beta?.data.fill(0);
    this.forward(x, "measure");
    const { gamma, beta } = nearest(this.h, this.y, this.units, this.norm.beta !== null);
    this.norm.gamma.data.set(gamma);
    this.norm.beta?.data.set(beta);
  }
}

/** Trains under this setting; every setting has the same weights to start from and the same order of rows. */
export function* experiment(setting: Setting, training: Digits, test: Digits): Generator<Standing, void> {
  const { seed, momentum, epochs } = DEFAULTS;
  const random = seededRandom(seed);
  const sizes = [PIXELS, ...DEFAULTS.hidden];
  const hidden = DEFAULTS.hidden.map((units, layer) => new Hidden(setting, sizes[layer]!, units, random));
  const output = new Dense(sizes.at(-1)!, CLASSES, random, true);
  const forward = (x: Float32Array, mode: "train" | "measure" | "use") =>
    output.forward(hidden.reduce((a, layer) => layer.forward(a, mode), x));

  const measure = (epoch: number, shares: Shares | null): Standing => {
    const { loss } = softmaxCrossEntropy(forward(training.pixels, "measure"), training.labels);
    const gaps = hidden.map(({ h, y, units }) => squaredGap(h, y, units));
    const gap = setting.normalization === "none" ? null : Math.sqrt(mean(gaps));
    const { accuracy } = softmaxCrossEntropy(forward(test.pixels, "use"), test.labels);
    return { epoch, loss, accuracy, gap, shares };
  };

  try {
    if (setting.start === "undone") {
      hidden.reduce((a, layer) => {
        layer.undo(a);
        return layer.forward(a, "measure");
      }, training.pixels);
    }
    const parameters = [...hidden.flatMap((layer) => layer.parameters()), ...output.parameters()];
    const optimizer = new SGD(parameters, { lr: setting.rate, momentum });
    yield measure(0, null);
    const rowOrder = seededRandom(seed + 1_000_003);
    const order = Uint32Array.from({ length: training.rows }, (_, row) => row);
    const steps = Math.floor(training.rows / setting.batchSize);
    for (let epoch = 1; epoch <= epochs; epoch++) {
      shuffle(order, rowOrder);
      const shares: Shares[] = [];
      for (let step = 0; step < steps; step++) {
        const from = step * setting.batchSize;
        const batch = pick(training, order.subarray(from, from + setting.batchSize));
        optimizer.zeroGrad();
        const { dlogits } = softmaxCrossEntropy(forward(batch.pixels, "train"), batch.labels);
        let da = output.backward(dlogits)!;
        for (const layer of [...hidden].reverse()) da = layer.backward(da, layer !== hidden[0]) ?? da;
        shares.push(...hidden.flatMap((layer) => layer.shares() ?? []));
        optimizer.step();
      }
      yield measure(epoch, shares.length ? meanShares(shares) : null);
    }
  } finally {
    for (const { norm } of hidden) norm?.dispose();
  }
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

function meanShares(all: readonly Shares[]): Shares {
  const of = (part: keyof Shares) => mean(all.map((shares) => shares[part]));
  return { mean: of("mean"), xhat: of("xhat"), rest: of("rest") };
}
