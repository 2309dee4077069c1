/** What a pass does: statistics or sums, then what is written; with FROZEN statistics, that do not depend on x. */
export const REDUCE: u32 = 1;
export const APPLY: u32 = 2;
export const FROZEN: u32 = 4;
/** Backward: the statistics are this minibatch's own, so that they may be taken again. */
export const OWN: u32 = 8;
/** Forward: means in float64 throughout, for statistics that will be merged with others. */
export const EXACTLY: u32 = 16;
/** Statistics about 0 instead of the mean. */
export const RMS: u32 = 32;
