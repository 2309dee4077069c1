/**
 * The binary interface: raw addresses and scalars. The memory is imported; nothing here allocates or keeps state.
 *
 * In all of these files `@ts-ignore: decorator` stands before AssemblyScript's `@inline`, since TypeScript's own checker, which
 * editors run, takes decorators on classes only.
 */

/** Raised whenever the meaning of an export changes, so that a facade refuses a binary that is not its own. */
export const ABI: i32 = 1;

/** Which of the two binaries this is: 1 with relaxed SIMD. */
export const RELAXED: i32 = ASC_FEATURE_RELAXED_SIMD ? 1 : 0;

/** The first address that is free to use. */
export function heapBase(): usize {
  return __heap_base;
}

export { columnsBackward } from "./columns/backward";
export { columnsForward } from "./columns/forward";
export { runsForward, runsBackward } from "./runs";
export { rowsForward, rowsBackward } from "./rows";
export { blend } from "./blend";
