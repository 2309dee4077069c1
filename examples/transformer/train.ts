import { AdamW, clipGradNorm } from "wasm-norm";
import { softmaxCrossEntropy } from "../digits/network.ts";
import { seededRandom } from "../digits/random.ts";
import { Decoder, type Sizes } from "./decoder.ts";
import { WAYS, type Way } from "./stream.ts";
import { minibatch, type Text } from "./text.ts";

export interface Settings extends Omit<Sizes, "characters"> {
  seed: number;
  learningRate: number;
  /** Steps until the learning rate is reached. */
  warmUp: number;
  maxNorm: number;
}

/** 160,000 parameters, 256 characters a step: some tenth of a second in Node. */
export const DEFAULTS: Settings = {
  seed: 1,
  batch: 8,
  context: 32,
  width: 64,
  heads: 4,
  blocks: 3,
  hidden: 176,
  learningRate: 8e-3,
  warmUp: 20,
  maxNorm: 1,
};

/** Share of the text that is trained on; the rest is held out. */
const TRAINED = 0.9;

const trainedOn = ({ codes }: Text): number => Math.floor(codes.length * TRAINED);

/** The part of the text that training never sees. */
export function heldOut(text: Text): Uint8Array {
  return text.codes.subarray(trainedOn(text));
}

/** One step: its loss in nats a character, and where its milliseconds went. */
export interface Step {
  step: number;
  way: Way;
  loss: number;
  /** In norms and additions to the residual stream. */
  forward: number;
  backward: number;
  /** In clipGradNorm and AdamW. */
  optimizer: number;
  total: number;
}

/**
 * Trains without end, a step each time the caller asks for the next one.
 *
 * @param ways how steps go through the residual stream, in turns: both compute the same
 */
export function* train(
  text: Text,
  settings: Settings,
  ways: readonly Way[] = WAYS,
): Generator<Step & { decoder: Decoder }, never> {
  const { seed, batch, context, learningRate, warmUp, maxNorm } = settings;
  const random = seededRandom(seed);
  const decoder = new Decoder({ ...settings, characters: text.alphabet.length }, random);
  const parameters = decoder.parameters();
  const optimizer = new AdamW(
    [
      { params: decoder.matrices(), weightDecay: 0.1 },
      { params: decoder.vectors(), weightDecay: 0 },
    ],
    { lr: 0, betas: [0.9, 0.99] },
  );
  const starts = trainedOn(text) - context;
  for (let step = 1; ; step++) {
    const way = ways[step % ways.length]!;
    const chosen = Array.from({ length: batch }, () => Math.floor(random() * starts));
    const { inputs, targets } = minibatch(text.codes, chosen, context);
    const spent = Object.assign(decoder.stream.spent, { forward: 0, backward: 0 });
    decoder.stream.way = way;

    const start = performance.now();
    optimizer.zeroGrad();
    const { loss, dlogits } = softmaxCrossEntropy(decoder.forward(inputs), targets);
    decoder.backward(dlogits);
    const differentiated = performance.now();
    clipGradNorm(parameters, maxNorm);
    optimizer.lr = learningRate * Math.min(1, step / warmUp);
    optimizer.step();
    const end = performance.now();
    yield { step, way, loss, ...spent, optimizer: end - differentiated, total: end - start, decoder };
  }
}
