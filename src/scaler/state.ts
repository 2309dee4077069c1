// A scaler's state, as JSON and as a file in the safetensors format: both hold every bit.
import { checkBoolean, checkFinite, checkInteger, rangeError, read, typeError } from "../errors.js";
import { Moments, UNITS, VECTORS } from "./moments.js";

/** The options of `new StandardScaler`. */
export interface StandardScalerOptions {
  /** Whether the mean is taken away; default true. */
  withMean?: boolean;
  /** Whether values are divided by the deviation; default true. */
  withStd?: boolean;
  /** The variance is `m2 / (count - ddof)`: 0, the default, is biased as in scikit-learn, 1 unbiased. */
  ddof?: number;
  /** After so many further rows a row counts half; default null: all count alike. */
  halfLife?: number | null;
}

/** How a scaler was made. */
export interface Settings {
  readonly features: number;
  readonly withMean: boolean;
  readonly withStd: boolean;
  readonly ddof: number;
  readonly halfLife: number | null;
}

/** What `StandardScaler.toJSON` gives: a value for each column in each array. */
export interface ScalerState extends Settings {
  readonly version: 1;
  /** Rows seen. */
  readonly rows: number;
  readonly count: readonly number[];
  /** The mean is `mean + lost`. */
  readonly mean: readonly number[];
  readonly lost: readonly number[];
  /** `sum(((x - mean) / 2^unit)^2)`. */
  readonly m2: readonly number[];
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

/** The state as a file: a F64 tensor of each vector, all else as text among the metadata. */
export function toFile(settings: Settings, rows: number, moments: Moments): Uint8Array {
  const bytes = settings.features * 8;
  const header: Record<string, unknown> = {
    __metadata__: { format: "wasm-norm scaler", settings: JSON.stringify({ version: 1, ...settings, rows }) },
  };
  VECTORS.forEach((name, i) => {
    header[name] = { dtype: "F64", shape: [settings.features], data_offsets: [i * bytes, (i + 1) * bytes] };
  });
  const text = new TextEncoder().encode(JSON.stringify(header));
  const start = 8 + Math.ceil(text.length / 8) * 8;
  const file = new Uint8Array(start + VECTORS.length * bytes).fill(0x20, 8, start);
  const view = new DataView(file.buffer);
  view.setUint32(0, start - 8, true);
  file.set(text, 8);
  VECTORS.forEach((name, i) => {
    moments[name].forEach((value, j) => {
      view.setFloat64(start + i * bytes + j * 8, value, true);
    });
  });
  return file;
}

/** What `toFile` wrote, as `toJSON` would give it. @throws TypeError, RangeError for anything else */
export function fromFile(who: string, file: unknown): unknown {
  if (!(file instanceof Uint8Array)) throw typeError(who, "a file as a Uint8Array", file);
  const bytes = file.slice();
  const view = new DataView(bytes.buffer);
  const length = bytes.length < 8 ? -1 : view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32;
  if (length < 0 || 8 + length > bytes.length)
    throw rangeError(who, "a whole file in the safetensors format", file);
  const start = 8 + length;
  const { header, settings } = parse(who, bytes.subarray(8, start));
  const state: Record<string, unknown> = { ...settings };
  for (const name of VECTORS) {
    const { dtype, shape, data_offsets } = header[name] ?? {};
    const [begin, end] = data_offsets ?? [];
    const fits =
      dtype === "F64" &&
      shape?.length === 1 &&
      Number.isSafeInteger(begin) &&
      begin! >= 0 &&
      end === begin! + shape[0]! * 8 &&
      start + end <= bytes.length;
    if (!fits)
      throw rangeError(who, `a tensor ${name} of type F64 with one axis`, JSON.stringify(header[name]));
    state[name] = Array.from({ length: shape[0]! }, (_, j) => view.getFloat64(start + begin! + j * 8, true));
  }
  return state;
}

type Header = Record<string, { dtype?: unknown; shape?: number[]; data_offsets?: number[] } | undefined>;

function parse(who: string, text: Uint8Array): { header: Header; settings: object } {
  try {
    const header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(text));
    const settings = JSON.parse(header.__metadata__.settings);
    if (typeof settings !== "object" || settings === null) throw new SyntaxError("no settings");
    return { header, settings };
  } catch (cause) {
    throw new RangeError(`${who}: expected a file that toSafetensors wrote`, { cause });
  }
}
