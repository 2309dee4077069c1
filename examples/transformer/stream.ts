import { RMSNorm, Tensor } from "wasm-norm";

/**
 * How what a block gives enters the residual stream and is normalized: by a plain addition and then the norm, each a pass
 * over memory of its own, or by the norm alone, which adds while it reads.
 */
export type Way = "separate" | "fused";
export const WAYS: readonly Way[] = ["separate", "fused"];

/** The residual stream of a network, `[rows, width]`, and the norms that stand along it. */
export class Stream {
  readonly norms: RMSNorm[];
  way: Way = "fused";
  /** Milliseconds in additions and norms, since they were last set to 0. */
  readonly spent = { forward: 0, backward: 0 };
  readonly #stream: Tensor;
  /** Where there are separate passes: the sums, since backward needs what each norm was given. */
  readonly #sums: Tensor[];
  readonly #gradient: Tensor;
  #last: Tensor;

  constructor(norms: number, rows: number, width: number) {
    this.norms = Array.from({ length: norms }, () => new RMSNorm(width));
    this.#stream = new Tensor([rows, width]);
    this.#sums = this.norms.map(() => new Tensor([rows, width]));
    this.#gradient = new Tensor([rows, width]);
    this.#last = this.#stream;
  }

  /** Sets the stream's first values. */
  begin(values: Float32Array): void {
    this.#stream.set(values);
    this.#last = this.#stream;
  }

  /** Adds x to the stream, and writes the new stream, normalized by the norm of this number, to y. */
  add(number: number, x: Tensor, y: Tensor): void {
    const start = performance.now();
    const norm = this.norms[number]!;
    if (this.way === "fused") norm.forwardInto(x, y, { stream: this.#stream });
    else {
      const sum = this.#sums[number]!;
      addUp(this.#last.data, x.data, sum.data);
      norm.forwardInto(sum, y);
      this.#last = sum;
    }
    this.spent.forward += performance.now() - start;
  }

  /** Sets the gradient that comes down the stream to 0: nothing comes from beyond the last norm. */
  beginBackward(): void {
    this.#gradient.data.fill(0);
  }

  /**
   * From the gradient at the y of this norm, which is overwritten, to that of the stream before the norm, which is that of the
   * x that was added too.
   */
  backward(number: number, dy: Tensor): Float32Array {
    const start = performance.now();
    const norm = this.norms[number]!;
    const gradient = this.#gradient;
    if (this.way === "fused") norm.backwardInto(dy, dy, { stream: gradient });
    else {
      norm.backwardInto(dy, dy);
      addUp(gradient.data, dy.data, gradient.data);
    }
    this.spent.backward += performance.now() - start;
    return gradient.toArray();
  }

  dispose(): void {
    for (const each of [...this.norms, this.#stream, ...this.#sums, this.#gradient]) each.dispose();
  }
}

function addUp(a: Float32Array, b: Float32Array, sum: Float32Array): void {
  for (let i = 0; i < sum.length; i++) sum[i] = a[i]! + b[i]!;
}
