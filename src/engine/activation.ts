/** What comes last, in the kernels' order: `ACTIVATION` of assembly/pass.ts. */
export const ACTIVATIONS = [
  "none",
  "relu",
  "relu6",
  "leaky-relu",
  "silu",
  "gelu",
  "gelu-tanh",
  "hardswish",
  "sigmoid",
  "tanh",
] as const;

/** From this one on, by their places, activations are a stage's. */
export const FIRST_LATE = 2;

/** What a layer does last. */
export type Activation = (typeof ACTIVATIONS)[number];
