// A scaler's state, as JSON and as a file in the safetensors format: both hold every bit.
import { checkBoolean, checkFinite, checkInteger, rangeError, read, typeError } from "../errors.js";
import { loadSafetensors } from "../safetensors/load.js";
import { saveSafetensors } from "../safetensors/save.js";
import { Moments, UNITS, VECTORS } from "./moments.js";

/** The options of `new StandardScaler`. */
export interface StandardScalerOptions {
  /** Whether the mean is taken away; default true. */
  withMean?: boolean | undefined;
  /** Whether values are divided by the deviation; default true. */
  withStd?: boolean | undefined;
  /** The variance is `m2 / (count - ddof)`: 0, the default, is biased as in scikit-learn, 1 unbiased. */
  ddof?: number | undefined;
  /** After so many further rows a row counts half; default null: all count alike. */
  halfLife?: number | null | undefined;
}

/** How a scaler was made. */
export interface Settings {
  /** Columns. */
  readonly features: number;
  /** Whether the mean is taken off. */
  readonly withMean: boolean;
  /** Whether values are divided by the standard deviation. */
  readonly withStd: boolean;
  /** The variance is divided by `count - ddof`. */
  readonly ddof: number;
  /** Rows after which a row counts half; null where all count alike. */
  readonly halfLife: number | null;
}

/** What `StandardScaler.toJSON` gives: a value for each column in each array. */
export interface ScalerState extends Settings {
  /** Of this form. */
  readonly version: 1;
  /** Rows seen. */
  readonly rows: number;
  /** Values that entered, by weight, for each column. */
  readonly count: readonly number[];
  /** The mean is `mean + lost`. */
  readonly mean: readonly number[];
  /** What float64 lost of the mean. */
  readonly lost: readonly number[];
  /** `sum(((x - mean) / 2^unit)^2)`. */
  readonly m2: readonly number[];
  /** The exponent that keeps `m2` in range. */
  readonly unit: readonly number[];
  /** With a half-life: the number of rows that `count` and `m2` are of. */
  readonly last: readonly number[];
}

export const MAX_FEATURES = 2 ** 24;

/** Reads how a scaler is to be. @throws TypeError, RangeError */
export function readSettings(who: string, features: unknown, options: Record<string, unknown>): Settings {
  const { withMean, withStd, ddof, halfLife } = options;
  const settings = {
    features: checkInteger(who, "features", features, 1, MAX_FEATURES),
    withMean: checkBoolean(who, "withMean", withMean),
    withStd: checkBoolean(who, "withStd", withStd),
    ddof: checkFinite(who, "ddof", ddof, 0),
    halfLife: halfLife === null ? null : checkFinite(who, "halfLife", halfLife, Number.MIN_VALUE),
  };
  // Freedom is counted in values, and faded weights are none.
  if (settings.halfLife !== null && settings.ddof !== 0)
    throw rangeError(who, "ddof to be 0 with a halfLife", ddof);
  return settings;
}

export function stateOf(settings: Settings, rows: number, moments: Moments): ScalerState {
  const vectors = Object.fromEntries(VECTORS.map((name) => [name, [...moments[name]]]));
  return { version: 1, ...settings, rows, ...vectors } as ScalerState;
}

/** Reads an untrusted state. @throws TypeError, RangeError */
export function readState(
  who: string,
  value: unknown,
): { settings: Settings; rows: number; moments: Moments } {
  if (typeof value !== "object" || value === null) throw typeError(who, "an object, as toJSON gives", value);
  const state = read(who, "the state", () => ({ ...value }) as Record<string, unknown>);
  if (state.version !== 1) throw rangeError(who, "version 1", state.version);
  const settings = readSettings(who, state.features, state);
  const rows = checkInteger(who, "rows", state.rows);
  const moments = new Moments(settings.features);
  for (const name of VECTORS) {
    const given = state[name];
    const numbers = read(who, name, () => (Array.isArray(given) ? [...given] : null));
    if (!numbers) throw typeError(who, `${name} to be an array`, given);
    if (numbers.length !== settings.features)
      throw rangeError(who, `${name} to have ${settings.features} values`, given);
    const least = name === "mean" || name === "lost" || name === "unit" ? undefined : 0;
    for (const number of numbers) checkFinite(who, `a value of ${name}`, number, least);
    moments[name].set(numbers as number[]);
  }
  for (const unit of moments.unit) {
    if (!(UNITS as readonly number[]).includes(unit))
      throw rangeError(who, `unit to be one of ${UNITS.join(", ")}`, unit);
  }
  return { settings, rows, moments };
}

/** The state as a file: a F64 tensor of each vector, and a scalar of each setting. */
export function toFile(
  { withMean, withStd, ddof, halfLife }: Settings,
  rows: number,
  moments: Moments,
): Uint8Array {
  const numbers = { version: 1, rows, withMean: +withMean, withStd: +withStd, ddof };
  const scalars = Object.entries(halfLife === null ? numbers : { ...numbers, halfLife });
  return saveSafetensors(
    Object.fromEntries([
      ...VECTORS.map((name) => [name, moments[name]] as const),
      ...scalars.map(([name, value]) => [name, Float64Array.of(value)] as const),
    ]),
    { format: "wasm-norm scaler" },
    Object.fromEntries(scalars.map(([name]) => [name, []])),
  );
}

/** What `toFile` wrote, as `toJSON` would give it; not judged yet. @throws TypeError, RangeError if it is no such file */
export function fromFile(who: string, file: Uint8Array): unknown {
  const dict = read(who, "the file", () => loadSafetensors(file));
  const scalar = (name: string): number | null => dict[name]?.[0] ?? null;
  const flag = (name: string) => [false, true][scalar(name) ?? -1];
  return {
    version: scalar("version"),
    features: dict.mean?.length,
    withMean: flag("withMean"),
    withStd: flag("withStd"),
    ddof: scalar("ddof"),
    halfLife: scalar("halfLife"),
    rows: scalar("rows"),
    ...Object.fromEntries(VECTORS.map((name) => [name, dict[name] && [...dict[name]]])),
  };
}
