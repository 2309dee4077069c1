/** What an optimizer remembers, by name. */
export type OptimizerState = Record<string, Float32Array | Float64Array>;

/** A state as it comes back: arrays of numbers of any kind, or what JSON makes of a typed array. */
export type SavedState = Readonly<
  Record<string, ArrayLike<number> | ArrayLike<bigint> | { readonly [index: string]: number }>
>;
