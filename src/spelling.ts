// Which option was meant by a name that is none: what other libraries call it, or the nearest.

const LONGEST = 40;

const AFFINE = ["affine"] as const;
const MODE = "set by train() and eval() here";
const NAMED: Readonly<Record<string, readonly [known: readonly string[], meant: string]>> = {
  epsilon: [["eps"], "eps here"],
  varianceepsilon: [["eps"], "eps here"],
  layernormeps: [["eps"], "eps here"],
  rmsnormeps: [["eps"], "eps here"],
  elementwiseaffine: [AFFINE, "affine here"],
  bias: [AFFINE, "affine: { beta } here"],
  usebias: [AFFINE, "affine: { beta } here"],
  center: [AFFINE, "affine: { beta } here"],
  beta: [AFFINE, "affine: { beta } here"],
  weight: [AFFINE, "affine: { gamma } here"],
  scale: [AFFINE, "affine: { gamma } here"],
  usescale: [AFFINE, "affine: { gamma } here"],
  gamma: [AFFINE, "affine: { gamma } here"],
  axis: [["layout"], 'layout: "channels-last" or "channels-first" here'],
  dataformat: [["layout"], 'layout: "channels-last" or "channels-first" here'],
  unitoffset: [["zeroCenteredGamma"], "zeroCenteredGamma here"],
  addunitoffset: [["zeroCenteredGamma"], "zeroCenteredGamma here"],
  nonlinearity: [["activation"], "activation here"],
  learningrate: [["lr"], "lr here"],
  decay: [["weightDecay"], "weightDecay here"],
  l2: [["weightDecay"], "weightDecay here"],
  beta1: [["betas"], "betas: [beta1, beta2] here"],
  beta2: [["betas"], "betas: [beta1, beta2] here"],
  clipnorm: [["lr"], "clipGradNorm(parameters, maxNorm) here"],
  globalclipnorm: [["lr"], "clipGradNorm(parameters, maxNorm) here"],
  maxnorm: [["lr"], "clipGradNorm(parameters, maxNorm) here"],
  training: [["eps", "shape"], MODE],
  istraining: [["eps", "shape"], MODE],
  paddingmask: [["mask"], "mask here"],
  attentionmask: [["mask"], "mask here"],
  dim: [["axes"], "axes here"],
};

/** `weight_decay`, `weightDecay` and `WeightDecay` are one name. */
const plain = (name: string): string =>
  name
    .slice(0, LONGEST)
    .replace(/[-_\s]/g, "")
    .toLowerCase();

/** How many characters have to be put in, left out or changed (Levenshtein 1966). */
export function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 0; i < a.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j++) {
      next.push(Math.min(row[j + 1]! + 1, next[j]! + 1, row[j]! + (a[i] === b[j] ? 0 : 1)));
    }
    row = next;
  }
  return row[b.length]!;
}

/** What was most likely meant by `name`, where only `known` are options: an end for the sentence that refuses it. */
export function meantBy(name: string, known: readonly string[]): string {
  const word = plain(name);
  const same = known.find((option) => plain(option) === word);
  if (same) return `: it is ${same} here`;
  if (Object.hasOwn(NAMED, word)) {
    const [needed, meant] = NAMED[word]!;
    if (needed.some((option) => known.includes(option))) return `: it is ${meant}`;
  }
  const [nearest] = known
    .map((option) => ({ option, far: distance(word, plain(option)) }))
    .sort((a, b) => a.far - b.far);
  return nearest ? `: the nearest is ${nearest.option}` : "";
}
