import { type BatchNorm, SGD } from "wasm-norm";
import type { Arm } from "./arms.ts";
import { CLASSES, type Digits, PIXELS, pick } from "./data.ts";
import { Network, softmaxCrossEntropy } from "./network.ts";
import { seededRandom, shuffle } from "./random.ts";

export interface Settings {
  seed: number;
  epochs: number;
  batchSize: number;
  /** Units of each hidden layer. */
  hidden: readonly number[];
  momentum: number;
  /** In place of the arm's own. */
  learningRate?: number;
}

export const DEFAULTS: Settings = {
  seed: 1,
  epochs: 30,
  batchSize: 64,
  hidden: [64, 64, 64],
  momentum: 0.9,
};

/** Every arm is trained from each of these, and the figures are their means. */
export const SEEDS: readonly number[] = [1, 2, 3];

/** One step of the optimizer. */
export interface Step {
  kind: "step";
  epoch: number;
  step: number;
  /** Of this minibatch, before the step. */
  loss: number;
}

/** How the network stands after `epoch` epochs; 0 is before the first step. */
export interface Epoch {
  kind: "epoch";
  epoch: number;
  /**
   * Over all training rows as one minibatch: cross-entropy in nats or, in the control, the mean square of
   * output minus input.
   */
  loss: number;
  /** Shares of rows right: training rows as one minibatch, test rows in evaluation mode. NaN in the control. */
  trainingAccuracy: number;
  testAccuracy: number;
  gap: Gap | null;
  /** The share of the gradient's energy that falls on the mean and on xhat: a mean over layers and the epoch's steps. */
  projectedOut: number;
}

/** How far gamma and beta stand from undoing the normalization of all training rows as one minibatch. */
export interface Gap {
  /** Root mean square over all units of (scale - 1, shift). */
  rms: number;
  /** The same statistics, but with gamma and beta where they started: what the weights alone brought about. */
  rmsUnmoved: number;
  /** Per layer, a value per unit: gamma / sigma and (beta - mean) / sigma. */
  layers: { scale: Float32Array; shift: Float32Array }[];
}

/** The network before its first step: every arm has the same weights. */
export function untrained(arm: Arm, { seed, hidden }: Settings): Network {
  return new Network([PIXELS, ...hidden, CLASSES], seededRandom(seed), arm.normalized);
}

/** Trains one arm: yields after every step and after every epoch. Disposes of the network at the end. */
export function* train(
  arm: Arm,
  training: Digits,
  test: Digits,
  settings: Settings,
  network: Network = untrained(arm, settings),
): Generator<Step | Epoch, void> {
  const { seed, epochs, batchSize, momentum } = settings;
  // The order of rows has a source of its own: every arm sees the same.
  const rowOrder = seededRandom(seed + 1_000_003);
  try {
    if (arm.start === "undone") undoNormalization(network, training);
    const started = network.norms.map((norm) => [norm.gamma!.data.slice(), norm.beta!.data.slice()] as const);
    const optimizer = new SGD(
      [
        ...(arm.learns.weights ? network.weights() : []),
        ...(arm.learns.gammaBeta ? network.norms.flatMap((norm) => norm.parameters()) : []),
      ],
      { lr: settings.learningRate ?? arm.learningRate, momentum },
    );
    const descend = arm.objective === "digits" ? descendOnDigits : descendOnIdentity;

    yield measure(arm, network, started, training, test, 0, Number.NaN);
    const order = Uint32Array.from({ length: training.rows }, (_, row) => row);
    const stepsPerEpoch = Math.floor(training.rows / batchSize);
    for (let epoch = 1; epoch <= epochs; epoch++) {
      shuffle(order, rowOrder);
      let projectedOut = 0;
      for (let step = 1; step <= stepsPerEpoch; step++) {
        // The rows left over, fewer than a minibatch, wait for a later shuffle.
        const batch = pick(training, order.subarray((step - 1) * batchSize, step * batchSize));
        optimizer.zeroGrad();
        for (const norm of network.norms) norm.zeroGrad();
        const loss = descend(network, batch);
        projectedOut += projectedShare(network) / stepsPerEpoch;
        optimizer.step();
        yield { kind: "step", epoch, step, loss };
      }
      yield measure(arm, network, started, training, test, epoch, projectedOut);
    }
  } finally {
    network.dispose();
  }
}

/** Forward and backward for the digits' cross-entropy; gives the loss. */
function descendOnDigits(network: Network, batch: Digits): number {
  const { loss, dlogits } = softmaxCrossEntropy(network.forward(batch.pixels), batch.labels);
  network.backward(dlogits);
  return loss;
}

/**
 * The control: each normalization's target is its own input H. The loss is half the squared distance, a mean
 * over examples and a sum over units; its gradient is the layer's own and goes no further down.
 */
function descendOnIdentity(network: Network, batch: Digits): number {
  network.forward(batch.pixels);
  for (const layer of network.hidden) {
    layer.dy = layer.y.map((y, i) => (y - layer.h[i]!) / batch.rows);
    layer.norm!.backward(layer.dy);
  }
  return meanSquareToInput(network);
}

/** Mean over all units and examples of (y - H)^2. */
function meanSquareToInput(network: Network): number {
  let sum = 0;
  let count = 0;
  for (const { h, y } of network.hidden) {
    for (let i = 0; i < y.length; i++) sum += (y[i]! - h[i]!) ** 2;
    count += y.length;
  }
  return sum / count;
}

/** Sets gamma and beta, from the first layer up, to where every layer gives back its input. */
function undoNormalization(network: Network, rows: Digits): void {
  let a = rows.pixels;
  for (const layer of network.hidden) {
    layer.forward(a);
    layer.norm!.recoverIdentity("batch");
    a = layer.forward(a);
  }
}

type GammaBeta = readonly [gamma: Float32Array, beta: Float32Array];

function measure(
  arm: Arm,
  network: Network,
  started: readonly GammaBeta[],
  training: Digits,
  test: Digits,
  epoch: number,
  projectedOut: number,
): Epoch {
  // All training rows as one minibatch: exact statistics. What that does to the running ones is taken back.
  const kept = network.norms.map((norm) => norm.stateDict());
  const { loss, accuracy } = softmaxCrossEntropy(network.forward(training.pixels), training.labels);
  const namesDigits = arm.objective === "digits";
  const result: Epoch = {
    kind: "epoch",
    epoch,
    loss: namesDigits ? loss : meanSquareToInput(network),
    trainingAccuracy: namesDigits ? accuracy : Number.NaN,
    testAccuracy: Number.NaN,
    gap: arm.normalized ? gapOf(network.norms, started) : null,
    projectedOut,
  };
  network.norms.forEach((norm, layer) => {
    norm.loadStateDict(kept[layer]!);
  });
  if (namesDigits) {
    network.eval();
    result.testAccuracy = softmaxCrossEntropy(network.forward(test.pixels), test.labels).accuracy;
    network.train();
  }
  return result;
}

function gapOf(norms: readonly BatchNorm[], started: readonly GammaBeta[]): Gap {
  const gaps = norms.map((norm) => norm.identityGap("batch"));
  const unmoved = norms.map((norm, layer) => {
    const [gamma, beta] = started[layer]!;
    const now: GammaBeta = [norm.gamma!.data.slice(), norm.beta!.data.slice()];
    norm.gamma!.data.set(gamma);
    norm.beta!.data.set(beta);
    const { rms } = norm.identityGap("batch");
    norm.gamma!.data.set(now[0]);
    norm.beta!.data.set(now[1]);
    return rms;
  });
  return {
    rms: rootMeanSquare(gaps.map((gap) => gap.rms)),
    rmsUnmoved: rootMeanSquare(unmoved),
    layers: gaps.map(({ scale, shift }) => ({ scale, shift })),
  };
}

/** The share of the last gradient's energy that falls on the mean and on xhat, a mean over the layers. */
function projectedShare(network: Network): number {
  const shares = network.hidden.flatMap(({ norm, dy }) => norm?.decomposeGradient(dy).total ?? []);
  return shares.reduce((sum, { mean, xhat }) => sum + mean + xhat, 0) / shares.length;
}

/** Of values that stand for equally many units each. */
function rootMeanSquare(values: readonly number[]): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
}
