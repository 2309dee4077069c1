import type { Values } from "./attention.ts";

/**
 * SwiGLU (Shazeer 2020): `y = silu(gate) * up`, of rows that hold `width` gates and then as many ups.
 *
 * @param x [rows, 2 * width]
 * @param y [rows, width]
 */
export function swiglu(x: Values, y: Values, width: number): void {
  for (let i = 0; i < y.length; i++) {
    const at = i + width * Math.floor(i / width);
    const gate = x[at]!;
    y[i] = (gate / (1 + Math.exp(-gate))) * x[at + width]!;
  }
}

/** The gradient of `swiglu`: from dy to dx. */
export function swigluBackward(x: Values, dy: Values, dx: Values, width: number): void {
  for (let i = 0; i < dy.length; i++) {
    const at = i + width * Math.floor(i / width);
    const gate = x[at]!;
    const sigmoid = 1 / (1 + Math.exp(-gate));
    dx[at] = dy[i]! * x[at + width]! * sigmoid * (1 + gate * (1 - sigmoid));
    dx[at + width] = dy[i]! * gate * sigmoid;
  }
}
