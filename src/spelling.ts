// Which option was meant by a name that is none: what other libraries call it, or the nearest.

const LONGEST = 40;

/** What other libraries call an option, the one of these options that must be known for it to be meant, and what it is. */
const NAMED: readonly (readonly [names: string, known: string, meant: string])[] = [
  ["epsilon varianceepsilon layernormeps rmsnormeps", "eps", "eps here"],
  ["elementwiseaffine", "affine", "affine here"],
  ["bias usebias center beta", "affine", "affine: { beta } here"],
  ["weight scale usescale gamma", "affine", "affine: { gamma } here"],
  ["axis dataformat", "layout", 'layout: "channels-last" or "channels-first" here'],
  ["unitoffset addunitoffset", "zeroCenteredGamma", "zeroCenteredGamma here"],
  ["nonlinearity", "activation", "activation here"],
  ["learningrate", "lr", "lr here"],
  ["decay l2", "weightDecay", "weightDecay here"],
  ["beta1 beta2", "betas", "betas: [beta1, beta2] here"],
  ["clipnorm globalclipnorm maxnorm", "lr", "clipGradNorm(parameters, maxNorm) here"],
  ["training istraining", "eps shape", "set by train() and eval() here"],
  ["paddingmask attentionmask", "mask", "mask here"],
  ["dim", "axes", "axes here"],
];

const words = (text: string): string[] => text.split(" ");

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
  const named = NAMED.find(([names]) => words(names).includes(word));
  if (named && words(named[1]).some((option) => known.includes(option))) return `: it is ${named[2]}`;
  const [nearest] = known
    .map((option) => ({ option, far: distance(word, plain(option)) }))
    .sort((a, b) => a.far - b.far);
  return nearest ? `: the nearest is ${nearest.option}` : "";
}
