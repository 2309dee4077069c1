/**
 * Bytes of all that a pass reads and writes, what it writes counted twice, from which it comes from memory, with what else a
 * machine has in the third-level cache. Measured where that has 32 MB, by one process beside busy neighbours, as near and as far:
 * 6272 x 256 takes 1.44 and 0.74 ms forward, 1.22 and 0.38 in evaluation, 4608 x 256 2.4 and 0.73 backward. In a quiet cache the
 * evaluation takes 0.21 and 0.25. What is smaller only loses: 4096 x 256, evaluation, 0.13 and 0.25; 1024 x 1024, backward, 0.50
 * and 0.66.
 */
// @ts-ignore: decorator
@inline export const FAR: usize = 18 << 20;

/**
 * Reads each cache line of a stretch in the order of addresses, so that the hardware's prefetch sees one sequence. Tiles of
 * long columns are read strip by strip, a dozen rows or more side by side, which it does not follow; rows are read along anyway, but
 * no faster than they are summed (4096 x 4096, forward: a tenth less). Near arrays only lose (1024 x 1024, dot products:
 * 187 us, 216 with), and so do runs (32 x 128 x 56 x 56, moments: 4.1 ms, 2.5 without).
 *
 * Reading and summing do not overlap so, as the instructions of a tile fill the reorder buffer: shorter rows are summed
 * otherwise, see `SHORT`. Rejected for those: four lines of the next tile touched beside each group of a strip (4096 x 1024,
 * forward: 1.6 ms became 2.3; 32768 x 256: 3.7, 8.6), or beside each group of four whole rows (32768 x 256, moments: 1.8 ms
 * became 1.4, but 4096 x 1024: 1.0, 1.6); tiles of four stretches of the array in turn (262144 x 64, moments: 3.7 ms, 5.4);
 * moments of eight rows an eighth of all apart (6272 x 1024: 1.29 ms, 0.97, but 25088 x 512: 2.1, 2.7); two rows at each of
 * four places (401408 x 64: 4.1 ms, 3.3, but 100352 x 128: 2.1, 6.1, and the loop that can do so takes a tenth longer in cache
 * without fused multiply-add); rows one by one, added to float32 sums in memory (262144 x 64, dot products: 5.7 ms, 4.0, but a
 * sum passes 15 roundings, and with four sets of sums in turn, which pass 5, it is 5.3); dot products along the rows, four at
 * a time, held for sixteen rows as moments are (backward of 65536 x 64: 3 to 8 % less, but 16384 x 256 5 % more, and in cache
 * 256 x 256 a fifth; both ways beside each other take 0.16 kB). Rejected for outputs: panels of 4 kB of columns, whose
 * coefficients stay in the first-level cache (1568 x 2048, in C: 0.88 ms, 1.28); reading them along before they are written
 * (32768 x 256, the affine pass by eight rows: 7.3 ms, 2.1 for single rows as they lie); filling them before (32 MB, in C, by
 * `rep stosb` in stretches of 4 kB: 1.46 ms, 1.79); computing them in a buffer of 4 to 256 kB and moving it by memory.copy
 * (its writes alone: 1.4 to 1.6 ms for 32 MB, 1.2 by plain stores).
 */
export function readAlong(at: usize, bytes: usize): void {
  // To the last whole line: a stretch may end where its array, or the memory, does.
  const end = at + bytes - 64;
  for (; at <= end; at += 64) load<u64>(at);
}
