// How checkpoints of the field call what PyTorch calls weight, bias, running_mean and running_var.

const SPELLINGS: Record<string, string> = {
  // PyTorch
  weight: "weight",
  bias: "bias",
  running_mean: "running_mean",
  running_var: "running_var",
  num_batches_tracked: "num_batches_tracked",
  // Keras, TensorFlow, the first BERT
  gamma: "weight",
  beta: "bias",
  moving_mean: "running_mean",
  moving_variance: "running_var",
  moving_var: "running_var",
  // Flax, ONNX, Haiku
  scale: "weight",
  offset: "bias",
  mean: "running_mean",
  var: "running_var",
  variance: "running_var",
  running_variance: "running_var",
};

/** What wraps a model and is no part of it: DataParallel, torch.compile, Lightning, Flax. */
const WRAPPERS = ["module", "model", "_orig_mod", "state_dict", "params", "batch_stats"];

/** PyTorch's name of an entry; undefined where no one calls one so. "gamma:0" is TensorFlow's for "gamma". */
export function standardName(entry: string): string | undefined {
  const name = entry.replace(/:\d+$/, "");
  return Object.hasOwn(SPELLINGS, name) ? SPELLINGS[name] : undefined;
}

/** A name in parts: dots as in PyTorch, slashes as in TensorFlow and Flax. */
export const partsOf = (name: string): string[] => (name === "" ? [] : name.split(/[./]/));

/** A layer's name without what only wraps the model; torch.compile wraps parts of it as well. */
export function unwrap(name: string): string {
  const parts = partsOf(name).filter((part) => part !== "_orig_mod");
  let at = 0;
  while (WRAPPERS.includes(parts[at]!)) at++;
  return parts.slice(at).join(".");
}

/** Whether a layer's name fits a pattern, in which `*` is any part or some of one, and `**` any number of parts. */
export function matcher(pattern: string): (name: string) => boolean {
  const literal = (text: string) => text.replace(/[\\^$.+?()[\]{}|]/g, "\\$&");
  const part = (text: string) => text.split("*").map(literal).join("[^./]*");
  const parts = partsOf(pattern).map((text) => (text === "**" ? "(?:[^./]+[./])*" : `${part(text)}[./]`));
  // Each part brings the separator behind it: one is put behind the name as well.
  const form = new RegExp(`^${parts.join("")}$`);
  return (name) => form.test(name === "" ? "" : `${name}.`);
}

/** An order in which layer 2 comes before layer 10. */
export function inOrder(a: string, b: string): number {
  const [left, right] = [a, b].map((name) => name.split(/(\d+)/));
  for (let i = 0; i < Math.min(left!.length, right!.length); i++) {
    const [x, y] = [left![i]!, right![i]!];
    if (x === y) continue;
    const order = i % 2 ? Number(x) - Number(y) : 0;
    return order || (x < y ? -1 : 1);
  }
  return left!.length - right!.length;
}
