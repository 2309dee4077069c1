/** The backward pass along runs, for some groups of an example. */
import { AFFINE } from "../../coefficients/affine";
import { dotsOf, GRADIENT, gradientOf } from "../../coefficients/gradient";
import { Again, Kept, Open } from "../../epilogues/backward";
import { sumOf } from "../../kernel/columns/layout";
import { dotsRun, gradientRun } from "../../kernel/runs/gradient";
import { dotsScaled, gradientScaled } from "../../kernel/runs/scaled";
import { Pass } from "../../pass";
import { clear } from "../../simd/lanes";
import { APPLY, FROZEN, REDUCE, RMS } from "../../steps";
import { finishDots, groupDots } from "../columns/backward";
import { EPILOGUE, gradientEpilogueOf } from "../columns/frame";
import { eitherFlag, spread } from "../columns/sums";
import { affineCoefficients } from "./forward";
import { BLOCK, batchOf, Frame, needsScales } from "./frame";
import { settleChannel } from "./settle";

/** Adds the dot products of a run. ReLU goes by `bits`, or by the forward's coefficients at `affine`; both are 0 where there is none. */
export function dots(
  scales: bool, x: usize, dy: usize, length: usize, record: usize, affine: usize, plane: usize, dyScale: f32, xScale: f32, sums: usize,
  bits: usize,
): void {
  if (scales) dotsScaled(x, dy, length, record, affine, plane, dyScale, xScale, sums, bits);
  else if (bits) dotsRun<Kept>(x, dy, length, record, 0, plane, sums, bits);
  else if (affine) dotsRun<Again>(x, dy, length, record, affine, plane, sums, 0);
  else dotsRun<Open>(x, dy, length, record, 0, plane, sums, 0);
}

/** dx of a run, with the same operands. */
function gradient(
  scales: bool, frozen: bool, x: usize, dy: usize, dx: usize, length: usize, record: usize, affine: usize, plane: usize, dresidual: usize,
  bits: usize,
): void {
  if (scales || frozen) gradientScaled(frozen, x, dy, dx, length, record, affine, plane, dresidual, bits);
  else if (bits) gradientRun<Kept>(x, dy, dx, length, record, 0, plane, dresidual, bits);
  else if (affine) gradientRun<Again>(x, dy, dx, length, record, affine, plane, dresidual, 0);
  else gradientRun<Open>(x, dy, dx, length, record, 0, plane, 0, 0);
}

/** Backward of groups [from, to) of example `e`, whose channels' dgamma and dbeta are added to those given, or to none for 0. */
export function backwardGroups(
  p: Pass, f: Frame, e: usize, from: usize, to: usize, workspace: usize, dgamma: usize, dbeta: usize,
): void {
  const plane = f.plane;
  const block = workspace + BLOCK.HEAD;
  const records = block + BLOCK.RECORD * plane;
  const flags = block + BLOCK.SCALED * plane;
  const m = block + BLOCK.MEAN * plane;
  const r = block + BLOCK.RSTD * plane;
  const most = batchOf(p, f, to - from, true);
  const again = gradientEpilogueOf(p) == EPILOGUE.RELU;
  for (let g = from; g < to; g += most) {
    const batch = min(to - g, most);
    const channels = batch * p.width;
    const at = (e * p.groups + g) << 3;
    const gamma = p.gamma ? p.gamma + ((g * p.width) << 2) : 0;
    if (again) affineCoefficients(p, f, e, g, batch, block, block + BLOCK.AFFINE * plane, flags + (plane >> 1));
    else {
      spread(p.mean + at, batch, p.width, 1, m);
      spread(p.rstd + at, batch, p.width, 1, r);
    }
    dotsOf(records, plane, m, r, channels, flags);
    if (again) eitherFlag(flags, plane, channels);
    if (p.steps & REDUCE) {
      const sums = block + BLOCK.SUMS * plane;
      reduce(p, f, e, g, channels, block, workspace);
      const parameter = ((g - from) * p.width) << 3;
      finishDots(
        channels, records, plane, sums, m, r, dgamma ? dgamma + parameter : block + BLOCK.DGAMMA * plane,
        dbeta ? dbeta + parameter : block + BLOCK.DBETA * plane,
      );
      groupDots(channels, p.width, sums, gamma, p.sum1 + at, p.sum2 + at);
    }
    if (!(p.steps & APPLY)) continue;
    const s1 = block + BLOCK.SUM1 * plane;
    const s2 = block + BLOCK.SUM2 * plane;
    const frozen = (p.steps & FROZEN) != 0;
    if (!frozen) {
      spread(p.sum1 + at, batch, p.width, 1, s1);
      spread(p.sum2 + at, batch, p.width, 1, s2);
    }
    gradientOf(records, plane, m, r, gamma, s1, s2, p.count, frozen, (p.steps & RMS) != 0, channels, flags);
    if (again) eitherFlag(flags, plane, channels);
    write(p, f, e, g, channels, block, frozen);
  }
}

/** Whether a channel needs scales backward: its own, or those of the decisions that are taken again. */
// @ts-ignore: decorator
@inline function scaled(flags: usize, c: usize, records: usize, affines: usize, plane: usize): bool {
  const at = c << 2;
  return (
    needsScales(flags, c, records + at, plane, GRADIENT.SCALE, GRADIENT.OUT + 1) ||
    (affines != 0 && needsScales(flags, c, affines + at, plane, AFFINE.MU_LOW, AFFINE.OUT + 1))
  );
}

/** The dot products of `channels` channels from group `g` on. */
function reduce(p: Pass, f: Frame, e: usize, g: usize, channels: usize, block: usize, work: usize): void {
  const epilogue = gradientEpilogueOf(p);
  const plane = f.plane;
  const records = block + BLOCK.RECORD * plane;
  const affines = epilogue == EPILOGUE.RELU ? block + BLOCK.AFFINE * plane : 0;
  const flags = block + BLOCK.SCALED * plane;
  const sums = block + BLOCK.SUMS * plane;
  const length: usize = p.length;
  const bytes = length << 2;
  const first = (e * f.exampleValues + g * f.run) << 2;
  const bits = epilogue && p.bits ? p.bits + e * f.exampleBits + g * p.width * f.channelBits : 0;
  clear(sums, plane * 5);
  // Row by row, so that adjacent channels are read along.
  for (let row: usize = 0; row < p.rows && !p.segments; row++) {
    let at = first + ((row * f.stride) << 2);
    let bit = bits ? bits + row * f.rowBits : 0;
    for (let c: usize = 0; c < channels; c++) {
      dots(
        scaled(flags, c, records, affines, plane), p.x + at, p.dy + at, length, records + (c << 2),
        affines ? affines + (c << 2) : 0, plane, 1, 1, sumOf(sums, c), bit,
      );
      at += bytes;
      if (bit) bit += f.channelBits;
    }
  }
  for (let c: usize = 0; c < channels; c++) {
    settleChannel(
      p, f, scaled(flags, c, records, affines, plane), first + c * bytes, records + (c << 2),
      affines ? affines + (c << 2) : 0, sumOf(sums, c), bits ? bits + c * f.channelBits : 0, work,
    );
  }
}

/** Writes dx of `channels` channels from group `g` on, from the last row back. */
function write(p: Pass, f: Frame, e: usize, g: usize, channels: usize, block: usize, frozen: bool): void {
  const epilogue = gradientEpilogueOf(p);
  const plane = f.plane;
  const records = block + BLOCK.RECORD * plane;
  const affines = epilogue == EPILOGUE.RELU ? block + BLOCK.AFFINE * plane : 0;
  const flags = block + BLOCK.SCALED * plane;
  const length: usize = p.length;
  const bytes = length << 2;
  for (let row: usize = p.rows; row > 0; row--) {
    let at = (e * f.exampleValues + (row - 1) * f.stride + g * f.run) << 2;
    let bit = epilogue && p.bits ? p.bits + e * f.exampleBits + (row - 1) * f.rowBits + g * p.width * f.channelBits : 0;
    for (let c: usize = 0; c < channels; c++) {
      const record = records + (c << 2);
      const scales = scaled(flags, c, records, affines, plane);
      const passed = epilogue && p.dresidual ? p.dresidual + at : 0;
      gradient(
        scales, frozen, p.x + at, p.dy + at, p.dx + at, length, record, affines ? affines + (c << 2) : 0, plane, passed, bit,
      );
      at += bytes;
      if (bit) bit += f.channelBits;
    }
  }
}
