// Standardizes a matrix with given coefficients, or puts it back: tile by tile, so that a matrix comes from memory once.
import { kernels, LANES, walkOf } from "./kernels.js";
import { copyIn, copyOut, type Given, isWide, type Part } from "./values.js";

/** What a column's values are mapped with. */
export interface Coefficients {
  mean: Float64Array;
  /** The deviation, 1 for a column without one. */
  scale: Float64Array;
}

/** Beyond these, a difference or a factor leaves float32, or float64, though the result may not. */
const [MEAN_32, SCALE_32] = [2 ** 100, 2 ** 100];
const [MEAN_64, SCALE_64] = [2 ** 960, 2 ** 1000];

/** Which arithmetic serves all columns. */
type Arithmetic = "float32" | "float64" | "by value";

function arithmeticOf({ mean, scale }: Coefficients, wide: boolean): Arithmetic {
  let largest = 0;
  let widest = 1;
  for (let j = 0; j < mean.length; j++) {
    // A column without values has neither, and no result but NaN.
    if (Math.abs(mean[j]!) > largest) largest = Math.abs(mean[j]!);
    const s = scale[j]!;
    if (s > widest) widest = s;
    else if (1 / s > widest) widest = 1 / s;
  }
  if (!wide && largest <= MEAN_32 && widest <= SCALE_32) return "float32";
  return largest <= MEAN_64 && widest <= SCALE_64 ? "float64" : "by value";
}

/** Maps all of x to `out`, which may be x itself: `(x - mean) / scale`, or `back` to `x * scale + mean`. */
export function apply(who: string, x: Given, out: Given, coefficients: Coefficients, back: boolean): void {
  const { mean, scale } = coefficients;
  x.parts.forEach((part, j) => {
    const to = out.parts[j]!;
    const own = x.byColumn
      ? { mean: mean.subarray(j, j + 1), scale: scale.subarray(j, j + 1) }
      : coefficients;
    const arithmetic = arithmeticOf(own, isWide(part) || isWide(to));
    if (arithmetic === "by value") applyByValue(part, to, own, back);
    else applyTiles(who, part, to, x.rows, own, arithmetic === "float32", back);
  });
}

function applyTiles(
  who: string,
  part: Part,
  to: Part,
  rows: number,
  { mean, scale }: Coefficients,
  narrow: boolean,
  back: boolean,
): void {
  const held = kernels();
  const { exports } = held;
  const features = mean.length;
  const bytes = narrow ? 4 : 8;
  const { folded, width, tileRows } = walkOf(rows, features, bytes);
  const { columns, tile } = held.reserve(who, 3, width, bytes * tileRows * features);
  const values = narrow ? held.f32 : held.f64;
  const [means, seconds, thirds] = [0, 1, 2].map((i) => columns + i * width * bytes) as [
    number,
    number,
    number,
  ];
  for (let i = 0, j = 0; i < width; i++, j = j + 1 === features ? 0 : j + 1) {
    const s = back ? scale[j]! : 1 / scale[j]!;
    values[means / bytes + i] = mean[j]!;
    if (narrow) values[thirds / bytes + i] = s;
    // What float32 loses of the mean is as large as the deviation where the mean is 2^24 times that.
    values[seconds / bytes + i] = narrow ? mean[j]! - Math.fround(mean[j]!) : s;
  }
  const map32 = back ? exports.restore32 : exports.standardize32;
  const map64 = back ? exports.restore64 : exports.standardize64;
  const map = (at: number, count: number, panels: number) =>
    narrow ? map32(at, count, panels, means, seconds, thirds) : map64(at, count, panels, means, seconds);
  for (let row = 0; row < rows; row += tileRows) {
    const here = Math.min(tileRows, rows - row);
    const length = here * features;
    copyIn(part, row * features, length, values, tile / bytes);
    const whole = Math.floor(here / folded);
    if (whole > 0) map(tile, whole, width);
    const start = whole * folded * features;
    if (start < length) map(tile + start * bytes, 1, Math.ceil((length - start) / LANES) * LANES);
    copyOut(to, row * features, length, values, tile / bytes);
  }
}

/** One value at a time, where a difference or a product of finite numbers may leave float64 and the result not. */
function applyByValue(part: Part, to: Part, { mean, scale }: Coefficients, back: boolean): void {
  const features = mean.length;
  const { length } = part.array;
  const value = new Float64Array(1);
  for (let i = 0, j = 0; i < length; i++, j = j + 1 === features ? 0 : j + 1) {
    copyIn(part, i, 1, value, 0);
    const x = value[0]!;
    const m = mean[j]!;
    const s = scale[j]!;
    let y = back ? x * s + m : (x - m) / s;
    if (Number.isFinite(x) && !Number.isFinite(y))
      y = back ? (x * (s / 4) + m / 4) * 4 : ((x / 4 - m / 4) / s) * 4;
    value[0] = y;
    copyOut(to, i, 1, value, 0);
  }
}
