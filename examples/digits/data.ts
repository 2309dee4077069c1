/** Pixels of one digit: 8 x 8, row by row. */
export const PIXELS = 64;
export const CLASSES = 10;

/** The customary split by order: rows 1 to 1,347 to train on, the rest to test on. */
const TRAINING_ROWS = 1347;
const DARKEST = 16;

export interface Digits {
  rows: number;
  /** [rows, 64], 0 to 1. */
  pixels: Float32Array;
  /** [rows], 0 to 9. */
  labels: Uint8Array;
}

/** Reads digits.csv: on each line 64 pixels from 0 to 16, then the digit. */
export function parseDigits(csv: string): { training: Digits; test: Digits } {
  const rows = csv
    .trim()
    .split("\n")
    .map((line) => line.split(",").map(Number));
  return { training: digitsOf(rows.slice(0, TRAINING_ROWS)), test: digitsOf(rows.slice(TRAINING_ROWS)) };
}

function digitsOf(rows: number[][]): Digits {
  const pixels = new Float32Array(rows.length * PIXELS);
  const labels = new Uint8Array(rows.length);
  rows.forEach((row, i) => {
    if (row.length !== PIXELS + 1) {
      throw new RangeError(`digits: expected ${PIXELS + 1} values in a row, got ${row.length}`);
    }
    for (let p = 0; p < PIXELS; p++) pixels[i * PIXELS + p] = row[p]! / DARKEST;
    labels[i] = row[PIXELS]!;
  });
  return { rows: rows.length, pixels, labels };
}

/** The digits whose indices stand in `order`, in that order. */
export function pick(from: Digits, order: Uint32Array): Digits {
  const pixels = new Float32Array(order.length * PIXELS);
  const labels = new Uint8Array(order.length);
  order.forEach((row, i) => {
    pixels.set(from.pixels.subarray(row * PIXELS, (row + 1) * PIXELS), i * PIXELS);
    labels[i] = from.labels[row]!;
  });
  return { rows: order.length, pixels, labels };
}
