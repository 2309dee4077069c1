/** The steps of a pass: statistics or sums, then what is written; with FROZEN statistics, that do not depend on x. */
export const REDUCE: u32 = 1;
export const APPLY: u32 = 2;
export const FROZEN: u32 = 4;
