import { rangeError, read, typeError } from "../errors.js";
import { type LoadResult, listOf, readEntries, type StateSource } from "../state.js";
import { applyAll, flatten, type Layers, type Load, readStrict, type Stateful } from "./models.js";
import { openSafetensors, type SafetensorsFile } from "./open.js";
import type { SafetensorsSource } from "./sources.js";
import { inOrder, matcher, partsOf, standardName, unwrap } from "./spellings.js";

/** Patterns of names in the file, with the layer or layers that they are for. */
export type Patterns = { readonly [pattern: string]: Layers };

/** Which layers of the file: a pattern for all, a name for each, names by the layers' own, or layers by pattern. */
export type Names = string | readonly string[] | { readonly [name: string]: string } | Patterns;

/** One layer in the file: its entries' full names by PyTorch's. */
type Group = Map<string, string>;

/** A file to read entries from, whatever it was given as. */
interface Reader {
  names: readonly string[];
  load(name: string): Promise<unknown>;
}

async function toReader(who: string, file: unknown): Promise<Reader> {
  const opened = read(
    who,
    "the file",
    () => typeof (file as SafetensorsFile | null)?.load === "function" && (file as SafetensorsFile),
  );
  if (opened) return opened;
  const tag = Object.prototype.toString.call(file);
  const plain = tag === "[object Map]" || (tag === "[object Object]" && !isOpenable(who, file as object));
  if (!plain) return openSafetensors(file as SafetensorsSource);
  const entries = readEntries(who, "the state dict", file);
  return { names: [...entries.keys()], load: async (name) => entries.get(name) };
}

/** Whether it is a file handle or the index of a sharded checkpoint. */
const isOpenable = (who: string, file: object): boolean =>
  read(
    who,
    "the file",
    () => typeof (file as { stat?: unknown }).stat === "function" || "weight_map" in file,
  );

/** The file's entries by layer, named as in the file or, `unwrapped`, without what wraps the model. */
function groupsOf(who: string, names: readonly string[], unwrapped: boolean): Map<string, Group> {
  const groups = new Map<string, Group>();
  // PyTorch's own spellings last, so that they win.
  for (const own of [false, true]) {
    for (const name of names) {
      const entry = partsOf(name).at(-1) ?? "";
      const standard = standardName(entry);
      if (standard === undefined || (standard === entry) !== own) continue;
      const full = name.slice(0, -entry.length - 1);
      const prefix = unwrapped ? unwrap(full) : full;
      const group = groups.get(prefix) ?? new Map<string, string>();
      const other = group.get(standard);
      const same = other !== undefined && standardName(partsOf(other).at(-1)!) === partsOf(other).at(-1);
      if (other !== undefined && same === own) {
        throw rangeError(who, `one ${standard} for ${prefix || "the layer"}, not ${other} as well`, name);
      }
      group.set(standard, name);
      groups.set(prefix, group);
    }
  }
  return groups;
}

/** The layers of the file that fit a pattern, in order. @throws RangeError where none does */
function find(who: string, names: readonly string[], pattern: string): [string, Group][] {
  for (const unwrapped of [false, true]) {
    const fits = matcher(unwrapped ? unwrap(pattern) : pattern);
    // Only what fits is grouped: elsewhere in the file a name may be ambiguous.
    const candidates = names.filter((name) => {
      const entry = partsOf(name).at(-1) ?? "";
      const prefix = name.slice(0, -entry.length - 1);
      return fits(unwrapped ? unwrap(prefix) : prefix);
    });
    const found = [...groupsOf(who, candidates, unwrapped)];
    if (found.length) return found.sort(([a], [b]) => inOrder(a, b));
  }
  throw rangeError(who, `a layer in the file that fits, among the entries ${listOf(names)}`, pattern);
}

/** A pattern with the layers that it is for, in order; `many` unless it stands for exactly one. */
type Request = { pattern: string; layers: Stateful[] };

function requestsByPattern(who: string, patterns: unknown): Request[] {
  const requests: Request[] = [];
  for (const [pattern, part] of readEntries(who, "layers by pattern", patterns)) {
    if (pattern.includes("*")) requests.push({ pattern, layers: [...flatten(who, part, pattern).values()] });
    else {
      for (const [name, layer] of flatten(who, part, pattern))
        requests.push({ pattern: name, layers: [layer] });
    }
  }
  return requests;
}

function readRequests(who: string, layers: unknown, names: unknown): Request[] {
  const all = flatten(who, layers);
  const list = [...all.values()];
  if (names === undefined)
    return all.has("") ? [{ pattern: "", layers: list }] : requestsByPattern(who, layers);
  if (typeof names === "string") return [{ pattern: names, layers: list }];
  if (read(who, "names", () => Array.isArray(names))) {
    const given = read(who, "names", () => [...(names as unknown[])]);
    if (given.length !== list.length)
      throw rangeError(who, `a name for each of ${list.length} layers`, given);
    return given.map((name, i) => {
      if (typeof name !== "string") throw typeError(who, "names to be text", name);
      return { pattern: name, layers: [list[i]!] };
    });
  }
  const fields = readEntries(who, "names (a pattern, an array of names, or an object)", names);
  if (![...fields.values()].every((value) => typeof value === "string")) return requestsByPattern(who, names);
  return Array.from(fields, ([key, pattern]) => {
    const chosen = [...all].filter(([name]) => name === key || name.startsWith(`${key}.`));
    if (!chosen.length) throw rangeError(who, `names for layers, which are ${listOf([...all.keys()])}`, key);
    return { pattern: pattern as string, layers: chosen.map(([, layer]) => layer) };
  });
}

/**
 * Loads layers out of a checkpoint of any framework by the names that its layers have there, and reads no more of it than
 * that. In a name `*` stands for any one part and `**` for any number of them: `loadInto({ "encoder.layer.*.LayerNorm": layers }, file)` gives
 * `layers[0]` what lies under "encoder.layer.0.LayerNorm" and so on in order, 2 before 10; there must be as many layers
 * as the pattern fits.
 *
 * Entries may be called as PyTorch (weight, bias, running_mean, running_var), Keras and TensorFlow (gamma, beta,
 * moving_mean, moving_variance), Flax (scale, bias, mean, var) or Haiku (scale, offset) call them, with dots or slashes
 * between parts. Where no name fits as it stands, names are compared without what only wraps a model (`module.`,
 * `model.`, `_orig_mod.`, `state_dict.`, `params/`, `batch_stats/`).
 *
 * @param layers a layer, layers in an array, or by name, or by pattern where `names` is left out
 * @param file what `openSafetensors` gave or takes, or a state dict
 * @param names a pattern for the layers, an array with a name for each, names in the file by those of `layers`, or
 *   layers by pattern
 * @param options with `strict: false` what the file lacks is kept, and entries beside it that a layer does not have are left
 * @returns the full names that were missing and unexpected
 * @throws TypeError, RangeError for names that fit nothing, other numbers of layers and entries that do not fit; then no
 *   layer has changed; what reading the file throws
 */
export async function loadInto(
  layers: Layers | Patterns,
  file: SafetensorsFile | SafetensorsSource | StateSource,
  names?: Names,
  options?: { strict?: boolean | undefined },
): Promise<LoadResult> {
  const who = "loadInto";
  const strict = readStrict(who, options);
  const requests = readRequests(who, layers, names);
  const reader = await toReader(who, file);
  const pairs = requests.flatMap(({ pattern, layers }) => {
    const found = find(who, reader.names, pattern);
    if (found.length !== layers.length) {
      const what = `as many layers as ${JSON.stringify(pattern)} fits in the file (${listOf(found.map(([name]) => name))})`;
      throw rangeError(who, what, layers.length);
    }
    return found.map(([prefix, group], i) => ({ prefix, group, layer: layers[i]! }));
  });
  const loads = await Promise.all(
    pairs.map(async ({ prefix, group, layer }): Promise<Load> => {
      const own = Object.keys(layer.stateDict());
      const dict: Record<string, unknown> = {};
      for (const [name, full] of group) {
        // What the layer does not have is not read; it counts by its name.
        dict[name] = own.includes(name) ? await reader.load(full) : undefined;
      }
      return { layer, prefix, dict, full: group };
    }),
  );
  const has = pairs.flatMap(({ group }) => [...group.values()]);
  return applyAll(who, loads, strict, has);
}
