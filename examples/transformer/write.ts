import { noGrad } from "wasm-norm";
import { softmaxCrossEntropy } from "../digits/network.ts";
import { type Random, seededRandom } from "../digits/random.ts";
import { Decoder, type Sizes } from "./decoder.ts";
import { minibatch, type Text } from "./text.ts";

/** A decoder for single examples, with the weights that another has learned. */
export function single(decoder: Decoder, sizes: Sizes): Decoder {
  const copy = new Decoder({ ...sizes, batch: 1 }, seededRandom(0));
  const learned = decoder.parameters();
  copy.parameters().forEach(({ data }, i) => {
    data.set(learned[i]!.data);
  });
  return copy;
}

/** The mean loss in nats a character over all of `codes`, one stretch of `context` after the other. */
export function lossOver(decoder: Decoder, codes: Uint8Array, context: number): number {
  let sum = 0;
  let stretches = 0;
  for (let start = 0; start + context < codes.length; start += context, stretches++) {
    const { inputs, targets } = minibatch(codes, [start], context);
    sum += softmaxCrossEntropy(
      noGrad(() => decoder.forward(inputs)),
      targets,
    ).loss;
  }
  return sum / stretches;
}

/**
 * Writes `length` characters after `opening`, each drawn from the decoder's distribution.
 *
 * @param temperature what logits are divided by: below 1 the likely becomes likelier
 */
export function write(
  decoder: Decoder,
  { alphabet }: Text,
  opening: string,
  { context, length, temperature, random }: Writing,
): string {
  const written = [...opening];
  for (let i = 0; i < length; i++) {
    const seen = written.slice(-context);
    // What stands after the last character has no influence on it.
    const inputs = new Uint8Array(context);
    inputs.set(seen.map((character) => alphabet.indexOf(character)));
    const logits = noGrad(() => decoder.forward(inputs));
    const last = logits.subarray((seen.length - 1) * alphabet.length, seen.length * alphabet.length);
    written.push(alphabet[draw(last, temperature, random)]!);
  }
  return written.join("");
}

export interface Writing {
  context: number;
  length: number;
  temperature: number;
  random: Random;
}

function draw(logits: Float32Array, temperature: number, random: Random): number {
  const highest = Math.max(...logits);
  const weights = Array.from(logits, (logit) => Math.exp((logit - highest) / temperature));
  let left = random() * weights.reduce((sum, weight) => sum + weight, 0);
  const drawn = weights.findIndex((weight) => (left -= weight) < 0);
  // Rounding may leave a trace of the sum.
  return drawn < 0 ? weights.length - 1 : drawn;
}
