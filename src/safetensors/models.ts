import { checkBoolean, rangeError, read, readOptions, typeError } from "../errors.js";
import {
  checkComplete,
  type LoadResult,
  readEntries,
  type StateDict,
  type StateEntry,
  type StateSource,
} from "../state.js";

/** What a model is made of here: anything that saves and loads a state dict. */
export interface Stateful {
  stateDict(): StateDict;
  loadStateDict(
    dict: Readonly<Record<string, StateEntry>>,
    options?: { strict?: boolean },
  ): LoadResult | undefined;
}

/** Layers by name: objects and arrays may nest, as modules do in PyTorch, and a name may hold dots itself. */
export type Layers =
  | Stateful
  | readonly Layers[]
  | ReadonlyMap<string, Layers>
  | { readonly [name: string]: Layers };

const MAX_DEPTH = 64;

const isLayer = (value: unknown): value is Stateful =>
  typeof value === "object" &&
  value !== null &&
  typeof (value as Stateful).stateDict === "function" &&
  typeof (value as Stateful).loadStateDict === "function";

/**
 * Every layer with its full name: `{ encoder: { blocks: [a, b] } }` gives "encoder.blocks.0" and "encoder.blocks.1".
 *
 * @throws TypeError for what is neither a layer nor holds any, RangeError for a name twice and for nesting without end
 */
export function flatten(who: string, layers: unknown, prefix = "", depth = 0): Map<string, Stateful> {
  const called = prefix || "layers";
  if (read(who, called, () => isLayer(layers))) return new Map([[prefix, layers as Stateful]]);
  if (depth > MAX_DEPTH) throw rangeError(who, "layers nested at most 64 deep", prefix);
  if (typeof layers !== "object" || layers === null) {
    throw typeError(who, `${called} to be a layer, or an object or array of layers`, layers);
  }
  const parts: Iterable<[unknown, unknown]> = read(who, called, () => Array.isArray(layers))
    ? read(who, called, () => [...(layers as unknown[]).entries()])
    : readEntries(who, `${called} (a layer, or layers by name)`, layers);
  const all = new Map<string, Stateful>();
  for (const [key, part] of parts) {
    const name = prefix ? `${prefix}.${key}` : String(key);
    for (const [full, layer] of flatten(who, part, name, depth + 1)) {
      if (all.has(full)) throw rangeError(who, "every name once", full);
      all.set(full, layer);
    }
  }
  return all;
}

/** `encoder.norm` and `weight` together. */
const join = (prefix: string, entry: string): string => (prefix ? `${prefix}.${entry}` : entry);

/**
 * The state of many layers in one dict, each entry under its layer's name, as `model.state_dict()` of PyTorch gives it:
 * `stateDictOf({ "encoder.norm": norm, blocks: [a, b] })` has "encoder.norm.weight", "blocks.0.weight" and so on.
 *
 * @throws TypeError, RangeError for layers that are none, or of one name; what `stateDict` of a layer throws
 */
export function stateDictOf(layers: Layers): StateDict {
  const dict: StateDict = {};
  for (const [prefix, layer] of flatten("stateDictOf", layers)) {
    for (const [name, array] of Object.entries(layer.stateDict())) dict[join(prefix, name)] = array;
  }
  return dict;
}

/** What one layer is to load, by its own names, and how its entries are called where they come from. */
export interface Load {
  layer: Stateful;
  prefix: string;
  dict: Record<string, unknown>;
  /** The full name of an entry where it is not the prefix, a dot and its own. */
  full?: ReadonlyMap<string, string> | undefined;
}

/**
 * Loads all or nothing: each layer checks and takes its own entries, and if one of them refuses, or `strict` finds the
 * whole incomplete, those before it get back what they had.
 */
export function applyAll(
  who: string,
  loads: readonly Load[],
  strict: boolean,
  has: readonly string[],
  stray: readonly string[] = [],
): LoadResult {
  const missing: string[] = [];
  const unexpected: string[] = [...stray];
  const before = loads.map(({ layer }) => layer.stateDict());
  let done = 0;
  try {
    for (const { layer, prefix, dict, full } of loads) {
      done++;
      let result: LoadResult | undefined;
      try {
        result = layer.loadStateDict(dict as Record<string, StateEntry>, { strict: false });
      } catch (cause) {
        if (!prefix || !(cause instanceof Error)) throw cause;
        const Kind =
          cause instanceof RangeError ? RangeError : cause instanceof TypeError ? TypeError : Error;
        throw new Kind(`${who}: ${prefix}: ${cause.message}`, { cause });
      }
      for (const name of result?.missing ?? []) missing.push(join(prefix, name));
      for (const name of result?.unexpected ?? []) unexpected.push(full?.get(name) ?? join(prefix, name));
    }
    if (strict) checkComplete(who, { missing, unexpected }, has);
  } catch (error) {
    for (let i = 0; i < done; i++) loads[i]!.layer.loadStateDict(before[i]!, { strict: false });
    throw error;
  }
  return { missing, unexpected };
}

/** Reads the option `strict`. @throws TypeError */
export const readStrict = (who: string, options: unknown): boolean =>
  checkBoolean(who, "strict", readOptions(who, options, { strict: true }).strict);

/**
 * Loads a state dict of many layers, as `stateDictOf` makes it or `loadSafetensors` reads it: each layer takes the
 * entries under its name. Like `load_state_dict` of PyTorch.
 *
 * @param options with `strict: false` what is missing keeps its value, and what no layer has is left
 * @returns the full names that were missing and unexpected
 * @throws TypeError, RangeError naming the entry; then nothing has changed in any layer
 */
export function loadStateDicts(
  layers: Layers,
  dict: StateSource,
  options?: { strict?: boolean | undefined },
): LoadResult {
  const who = "loadStateDicts";
  const strict = readStrict(who, options);
  const all = flatten(who, layers);
  const entries = readEntries(who, "the state dict", dict);
  const loads = new Map<string, Load>();
  for (const [prefix, layer] of all) loads.set(prefix, { layer, prefix, dict: {} });
  const stray: string[] = [];
  for (const [name, value] of entries) {
    const dot = name.lastIndexOf(".");
    const load = loads.get(dot < 0 ? "" : name.slice(0, dot));
    if (load) load.dict[name.slice(dot + 1)] = value;
    else stray.push(name);
  }
  return applyAll(who, [...loads.values()], strict, [...entries.keys()], stray);
}
