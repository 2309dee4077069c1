/** A text as a model reads it: each character's number among those that occur. */
export interface Text {
  /** The characters, in the order of their numbers. */
  alphabet: string[];
  codes: Uint8Array;
}

/** @throws RangeError for more than 256 different characters */
export function readText(text: string): Text {
  const characters = [...text];
  const alphabet = [...new Set(characters)].sort();
  if (alphabet.length > 256) throw new RangeError(`at most 256 different characters, got ${alphabet.length}`);
  const numbers = new Map(alphabet.map((character, number) => [character, number]));
  return { alphabet, codes: Uint8Array.from(characters, (character) => numbers.get(character)!) };
}

/** Examples of `context` characters, and for each character the one that follows it. */
export interface Minibatch {
  inputs: Uint8Array;
  targets: Uint8Array;
}

/** The stretches of `codes` that begin at `starts`. */
export function minibatch(codes: Uint8Array, starts: readonly number[], context: number): Minibatch {
  const inputs = new Uint8Array(starts.length * context);
  const targets = new Uint8Array(starts.length * context);
  for (const [example, start] of starts.entries()) {
    inputs.set(codes.subarray(start, start + context), example * context);
    targets.set(codes.subarray(start + 1, start + 1 + context), example * context);
  }
  return { inputs, targets };
}
