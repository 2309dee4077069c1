/** When sums of squares may not stand, and with which scale they are taken again: for columns and runs. */

/** Below this mean square, squares may have vanished in float32 (2^-100). */
export const TINY: f64 = 7.888609052210118e-31;
/** The eps from which a variance below TINY makes no difference (2^-60), and the pivot from which there is none. */
export const EPS_RULES: f64 = 8.673617379884035e-19;
const PIVOT_RULES: f64 = 9.313225746154785e-10;
/** Scales for squares that vanish, or that leave the range (2^100, 2^-80). */
const UP: f64 = 1.2676506002282294e30;
export const DOWN: f64 = 8.271806125530277e-25;

/** The scale a group is to be summed with, from its mean square `q` about `pivot`, at a scale of 1, and its variance `v`. */
export function scaleOfMoments(q: f64, v: f64, pivot: f64, eps: f64): f64 {
  if (!(q < Infinity)) return DOWN;
  return v <= TINY && eps < EPS_RULES && abs(pivot) <= PIVOT_RULES ? UP : 1;
}

/** Whether a variance `v` may stand, as the mean square about the pivot was `q`: beyond 3 its digits are lost to the pivot's distance. */
export function isNear(q: f64, v: f64): bool {
  return q <= 3 * v;
}
