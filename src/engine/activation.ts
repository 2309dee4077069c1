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

/** What a layer does last. */
export type Activation = (typeof ACTIVATIONS)[number];
