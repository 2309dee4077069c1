import { isFloat32Array } from "../arrays.js";
import { checkWord, rangeError, read, readOptions, typeError } from "../errors.js";
import type { Parameter } from "../layers/parameters.js";
import { CollectiveError, nameRanks } from "./error.js";
import { isSynchronized } from "./parameters.js";
import { mostCommon } from "./ranks.js";
import { type Collective, checkCollective } from "./types.js";

const WHO = "syncGradients";

/** How the gradients of all ranks become one. */
export interface SyncGradientsOptions {
  /**
   * "sum", the default, where each rank's loss is divided by the rows of all ranks; "mean" where it is divided by its own
   * rows, and those are as many on every rank.
   */
  reduce?: "sum" | "mean" | undefined;
}

/** The gradients to exchange: those of synchronized layers are the whole minibatch's already. */
function readGradients(parameters: unknown): Float32Array[] {
  if (!Array.isArray(parameters)) throw typeError(WHO, "parameters to be an array of parameters", parameters);
  const list = read(WHO, "parameters", () => Array.from(parameters) as (Parameter | null)[]);
  const grads: Float32Array[] = [];
  list.forEach((parameter, i) => {
    const grad = read(WHO, `parameters[${i}]`, () => parameter!.grad);
    if (!isFloat32Array(grad)) throw typeError(WHO, `parameters[${i}].grad to be a Float32Array`, grad);
    if (!isSynchronized(parameter!)) grads.push(grad);
  });
  return grads;
}

/**
 * Makes the gradients of all ranks one, in place: the same bits on every rank, each value added in float64 in the order
 * of ranks and rounded once. Parameters of SyncBatchNorm are left as they are.
 *
 * @throws TypeError for a wrong argument, before anything is sent
 * @throws CollectiveError on all ranks, where one is missing or has other parameters; nothing has changed then
 */
export async function syncGradients(
  parameters: readonly Parameter[],
  collective: Collective,
  options?: SyncGradientsOptions,
): Promise<void> {
  const ranks = checkCollective(WHO, collective);
  const { reduce } = readOptions(WHO, options, { reduce: "sum" });
  const divisor = checkWord(WHO, "reduce", reduce, "sum", "mean") === "mean" ? ranks.size : 1;
  const grads = readGradients(parameters);
  const lengths = Float64Array.from([2 ** 53 - 1, divisor, ...grads.map((grad) => grad.length)]);
  const size = grads.reduce((sum, grad) => sum + grad.length, 0);
  const bytes = new Uint8Array(lengths.byteLength + 4 * size);
  bytes.set(new Uint8Array(lengths.buffer));
  let at = lengths.byteLength;
  for (const grad of grads) {
    bytes.set(new Uint8Array(Float32Array.from(grad).buffer), at);
    at += 4 * grad.length;
  }
  const gathered = await ranks.allGather(bytes);
  const headers = gathered.map((part) => part.subarray(0, lengths.byteLength).join());
  const common = mostCommon(gathered.map((part, rank) => `${part.length}:${headers[rank]}`));
  const odd = gathered.flatMap((part, rank) => (`${part.length}:${headers[rank]}` === common ? [] : [rank]));
  if (odd.length > 0) {
    const message = `${WHO}: expected the same parameters on all ${ranks.size} ranks, got others on ${nameRanks(odd)}`;
    throw new CollectiveError("mismatch", odd, Number.NaN, message);
  }
  const values = gathered.map(
    (part) => new Float32Array(new Uint8Array(part.subarray(lengths.byteLength)).buffer),
  );
  const lost = grads.findIndex((grad, i) => grad.length !== lengths[i + 2]);
  if (lost >= 0) throw rangeError(WHO, "gradients to stay as they are during the call", grads[lost]);
  let i = 0;
  for (const grad of grads) {
    for (let p = 0; p < grad.length; p++, i++) {
      let sum = 0;
      for (const part of values) sum += part[i]!;
      grad[p] = sum / divisor;
    }
  }
}
