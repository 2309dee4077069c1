/** The rows that take part in the statistics: ascending pairs [from, to), clipped to a tile's. */
import { Pass } from "../../pass";

/** The first segment that ends behind `row`; `segmentCount` where none does, or where all rows take part. */
export function firstSegment(p: Pass, row: usize): u32 {
  if (!p.segments) return p.segmentCount;
  let low: u32 = 0;
  let high = p.segmentCount;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (load<usize>(p.segments + (usize(middle) << 3), 4) > row) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Where segment `s` begins (`end` 0) or ends (`end` 4), within rows [from, to). */
// @ts-ignore: decorator
@inline export function clipped(p: Pass, s: u32, end: usize, from: usize, to: usize): usize {
  return min(max(load<usize>(p.segments + (usize(s) << 3) + end), from), to);
}
