/** Bytes of x from which a pass comes from beyond the second-level cache, whatever else it reads and writes. */
// @ts-ignore: decorator
@inline export const FAR: usize = 6 << 20;

/**
 * Reads each cache line of a stretch in the order of addresses, so that the hardware's prefetch sees one sequence. Tiles of
 * columns are read strip by strip, sixteen rows side by side, which it does not follow (dot products of 32768 x 256: 9.9 ms
 * without, 3.3 with); rows are read along anyway, but no faster than they are summed (4096 x 4096, forward: a sixth less).
 * Near arrays only lose (1024 x 1024, dot products: 187 us, 216 with).
 *
 * Rejected: four lines of the next tile touched beside each group of a strip, so that reading and summing overlap (4096 x
 * 1024, forward: 1.6 ms became 2.3; 32768 x 256: 3.7, 8.6); outputs as well read along before they are written (32768 x
 * 256, the affine pass by eight rows: 7.3 ms, 2.1 for single rows as they lie); outputs computed in a buffer of 4 to 256 kB
 * and moved by memory.copy (its writes alone: 1.4 to 1.6 ms for 32 MB, 1.2 by plain stores).
 */
export function readAlong(at: usize, bytes: usize): void {
  // To the last whole line: a stretch may end where its array, or the memory, does.
  const end = at + bytes - 64;
  for (; at <= end; at += 64) load<u64>(at);
}

/** Values from which a run outweighs what is done for it once: its coefficients, a new sequence for the prefetch. */
// @ts-ignore: decorator
@inline export const LONG: usize = 1024;

/** Whether the runs of a group are to be read along first (32 x 64 x 56 x 56: an eighth less; 32 x 256 x 14 x 14: a quarter more). */
export function isFar(rows: usize, stride: usize, length: usize): bool {
  return length >= LONG && rows * stride >= FAR >> 2;
}
