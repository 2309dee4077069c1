import type { Tf } from "./types.js";
export const defineLayers =
  (_tf: Tf): (() => void) =>
  () => {};
