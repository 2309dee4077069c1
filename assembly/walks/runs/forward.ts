/** The forward pass along runs, for some groups of an example. */
import { AFFINE, affineOf, rstdOf } from "../../coefficients/affine";
import { Added, Plain } from "../../epilogues/forward";
import { affineRun } from "../../kernel/runs/affine";
import { affineScaled } from "../../kernel/runs/scaled";
import { ACTIVATION, Pass } from "../../pass";
import { APPLY, REDUCE, RMS } from "../../steps";
import { spread } from "../columns/sums";
import { BLOCK, batchOf, Frame, needsScales } from "./frame";
import { groupMoments } from "./statistics";

/** Fills the AFFINE planes of a batch of groups from `g` on at `record`, and its channels' means and rstd. */
export function affineCoefficients(p: Pass, f: Frame, e: usize, g: usize, batch: usize, block: usize, record: usize, flags: usize): void {
  const plane = f.plane;
  const at = (e * p.groups + g) << 3;
  const parameter = (g * p.width) << 2;
  const m = block + BLOCK.MEAN * plane;
  const r = block + BLOCK.RSTD * plane;
  spread(p.mean + at, batch, p.width, 1, m);
  spread(p.rstd + at, batch, p.width, 1, r);
  affineOf(
    record, plane, m, r, p.gamma ? p.gamma + parameter : 0, p.beta ? p.beta + parameter : 0, batch * p.width, flags,
  );
}

/** Forward of groups [from, to) of example `e`. */
export function forwardGroups(p: Pass, f: Frame, e: usize, from: usize, to: usize, workspace: usize): void {
  const block = workspace + BLOCK.HEAD;
  // Given statistics are applied in the order of addresses.
  const most: usize = p.steps & REDUCE ? batchOf(p, f, to - from, false) : min(to - from, (f.plane >> 2) / p.width);
  for (let g = from; g < to; g += most) {
    const batch = min(to - g, most);
    const at = (e * p.groups + g) << 3;
    if (p.steps & REDUCE) {
      groupMoments(
        p, f, p.x + ((e * f.exampleValues + g * f.run) << 2), batch, (p.steps & RMS) != 0, block + BLOCK.RECORD * f.plane,
        block + BLOCK.SUMS * f.plane, p.mean + at, p.variance + at,
      );
    }
    rstdOf(p.variance + at, p.rstd + at, batch, p.eps);
    if (!(p.steps & APPLY)) continue;
    affineCoefficients(p, f, e, g, batch, block, block + BLOCK.RECORD * f.plane, block + BLOCK.SCALED * f.plane);
    write(p, f, e, g, batch * p.width, block);
  }
}

/** Writes y of `channels` channels from group `g` on, from the last row back. */
function write(p: Pass, f: Frame, e: usize, g: usize, channels: usize, block: usize): void {
  const relu = p.activation == ACTIVATION.RELU;
  const plane = f.plane;
  const records = block + BLOCK.RECORD * plane;
  const flags = block + BLOCK.SCALED * plane;
  const length: usize = p.length;
  const bytes = length << 2;
  for (let row: usize = p.rows; row > 0; row--) {
    let at = (e * f.exampleValues + (row - 1) * f.stride + g * f.run) << 2;
    let bit = relu && p.bits ? p.bits + e * f.exampleBits + (row - 1) * f.rowBits + g * p.width * f.channelBits : 0;
    for (let c: usize = 0; c < channels; c++) {
      const record = records + (c << 2);
      const scales = needsScales(flags, c, record, plane, AFFINE.MU_LOW, AFFINE.OUT + 1);
      const residual = p.residual ? p.residual + at : 0;
      if (scales) affineScaled(relu, p.x + at, p.y + at, length, record, plane, residual, bit);
      else if (residual || bit) affineRun<Added>(relu, p.x + at, p.y + at, length, record, plane, residual, bit);
      else affineRun<Plain>(relu, p.x + at, p.y + at, length, record, plane, 0, 0);
      at += bytes;
      if (bit) bit += f.channelBits;
    }
  }
}
