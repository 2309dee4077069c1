// Do gamma and beta undo the normalization in a network that is trained already? The report for its layers.
import { checkFinite, checkInteger, readOptions } from "../errors.js";
import { type KnownLayer, type LayerKind, type NormLayer, readLayers } from "./layers.js";
import { limitsOf } from "./limits.js";
import { seeded, shuffle } from "./random.js";
import { type Correlation, type Median, medianOf, quantile, quartiles, spearman } from "./rank.js";
import { type MeasuredUnits, measure } from "./units.js";

/** Options of a report. */
export interface ReportOptions {
  /** A unit counts as undone with its scale within this of 1 and its shift within this of 0; default 0.1. */
  tolerance?: number | undefined;
  /** How many times each layer's parameters are dealt to its units at random; default 200. */
  deals?: number | undefined;
  /** Seed of the dealing, an integer; default 1. */
  seed?: number | undefined;
}

/** How many units were within the tolerance, over all random deals. */
export interface Dealt {
  /** The mean over all deals. */
  mean: number;
  /** The 5th percentile. */
  low: number;
  /** The 95th percentile. */
  high: number;
  /** The share of deals with at least as many as there are: small where there are more than chance explains. */
  atLeast: number;
}

/** What is told of a layer and, for all their units together, of several. */
export interface UnitFigures {
  /** All units, measured or not. */
  units: number;
  /** Units that the figures rest on: the rest is left out. */
  measured: number;
  /** Left out: the variance lies at the lowest level of its quantization, which says only that it is small. */
  atLowest: number;
  /** Left out: a value is not finite, or the variance negative. */
  notFinite: number;
  /** Root mean square of `scale - 1` and `shift` together. */
  gap: number;
  /** Units within the tolerance. */
  within: number;
  /** Their share of the units measured. */
  share: number;
  /** Units surely within it, where each quantized value may be half a step off. */
  surely: number;
  /** Units that may be within it. */
  possibly: number;
  /** A unit's gamma and beta dealt together to the layer's units. */
  dealt: Dealt;
  /** Gammas and betas dealt each by themselves. */
  dealtApart: Dealt;
  /** Quartiles of the scale over the units measured. */
  scaleQuartiles: [number, number, number];
  /** Quartiles of the shift. */
  shiftQuartiles: [number, number, number];
}

/** A layer of the report. */
export interface LayerReport extends UnitFigures {
  /** As it was given. */
  name: string;
  /** What stands before it. */
  kind: LayerKind;
  /** What follows it; null where nothing says. */
  activation: string | null;
  /** `gamma / sqrt(var + eps)` of each unit, those left out too: 1 is undone. */
  scale: Float64Array;
  /** `(beta - mean) / sqrt(var + eps)` of each unit, those left out too: 0 is undone. */
  shift: Float64Array;
  /** Which units the figures rest on. */
  counted: boolean[];
  /** Across its units: does gamma follow the standard deviation? Null without gamma, or with too few units. */
  gammaSigma: Correlation | null;
  /** Across its units: does beta follow the mean? */
  betaMean: Correlation | null;
}

/** The layers of a kind, or all of them. */
export interface GroupReport extends UnitFigures {
  /** What the layers have in common. */
  kind: LayerKind | "all";
  /** How many layers. */
  layers: number;
  /** The median of the layers' correlations of gamma and deviation, each layer counting once. */
  gammaSigma: Median | null;
  /** The same for beta and the mean. */
  betaMean: Median | null;
}

/** What `identityReport` returns. */
export interface IdentityReport {
  /** The tolerance that the counts go by. */
  tolerance: number;
  /** Random deals of each layer. */
  deals: number;
  /** The seed that they began with. */
  seed: number;
  /** The layers, as they were given. */
  layers: LayerReport[];
  /** A group for each kind of layer that there is. */
  kinds: GroupReport[];
  /** All layers together. */
  all: GroupReport;
  /** What these figures can and cannot say, in sentences. */
  limits: string[];
}

/** A layer's counts for each deal, kept until they are added up by group. */
interface Work {
  known: KnownLayer;
  units: MeasuredUnits;
  report: LayerReport;
  together: Float64Array;
  apart: Float64Array;
}

/**
 * How far gamma and beta of trained layers stand from undoing the normalization, against the same parameters dealt
 * to the layer's units at random. Pure: nothing is read but the layers, and the same seed gives the same report.
 *
 * `scale = gamma / sqrt(var + eps)` and `shift = (beta - mean) / sqrt(var + eps)`, under the running statistics: undone
 * is 1 and 0 (Ioffe & Szegedy 2015, section 3). Layers without statistics are left out.
 *
 * @param layers for instance of `checkpointLayers`
 * @throws TypeError, RangeError for wrong layers or options
 */
export function identityReport(layers: readonly NormLayer[], options: ReportOptions = {}): IdentityReport {
  const who = "identityReport";
  const given = readOptions(who, options, { tolerance: 0.1, deals: 200, seed: 1 });
  const tolerance = checkFinite(who, "tolerance", given.tolerance, 0);
  const deals = checkInteger(who, "deals", given.deals, 1, 1e6);
  const seed = checkInteger(who, "seed", given.seed);
  const known = readLayers(who, layers).filter(({ mean }) => mean !== null);
  const random = seeded(seed);
  const work = known.map((layer) => workOn(layer, tolerance, deals, random));
  const kinds = [...new Set(known.map(({ kind }) => kind))];
  return {
    tolerance,
    deals,
    seed,
    layers: work.map(({ report }) => report),
    kinds: kinds.map((kind) =>
      group(
        kind,
        work.filter(({ report }) => report.kind === kind),
        deals,
      ),
    ),
    all: group("all", work, deals),
    limits: limitsOf(known),
  };
}

function workOn(known: KnownLayer, tolerance: number, deals: number, random: () => number): Work {
  const units = measure(known, tolerance);
  const { indices, gamma, beta, mean, sigma } = units;
  const n = indices.length;
  const gammas = Uint32Array.from({ length: n }, (_, i) => i);
  const betas = gammas.slice();
  const isWithin = (unit: number, g: number, b: number) =>
    Math.abs(gamma[g]! / sigma[unit]! - 1) <= tolerance &&
    Math.abs((beta[b]! - mean[unit]!) / sigma[unit]!) <= tolerance;
  const together = new Float64Array(deals);
  const apart = new Float64Array(deals);
  for (let deal = 0; deal < deals; deal++) {
    shuffle(gammas, random);
    shuffle(betas, random);
    for (let i = 0; i < n; i++) {
      if (isWithin(i, gammas[i]!, gammas[i]!)) together[deal]!++;
      if (isWithin(i, gammas[i]!, betas[i]!)) apart[deal]!++;
    }
  }
  const report: LayerReport = {
    name: known.name,
    kind: known.kind,
    activation: known.activation,
    ...figures([units], together, apart),
    scale: units.scale,
    shift: units.shift,
    counted: units.counted,
    gammaSigma: known.gamma && spearman(gamma, sigma),
    betaMean: known.beta && spearman(beta, mean),
  };
  return { known, units, report, together, apart };
}

function group(kind: GroupReport["kind"], work: readonly Work[], deals: number): GroupReport {
  const sum = (key: "together" | "apart") =>
    Float64Array.from({ length: deals }, (_, i) => work.reduce((total, one) => total + one[key][i]!, 0));
  const median = (key: "gammaSigma" | "betaMean") =>
    medianOf(work.flatMap(({ report }) => report[key]?.rho ?? []));
  return {
    kind,
    layers: work.length,
    ...figures(
      work.map(({ units }) => units),
      sum("together"),
      sum("apart"),
    ),
    gammaSigma: median("gammaSigma"),
    betaMean: median("betaMean"),
  };
}

function figures(all: readonly MeasuredUnits[], together: Float64Array, apart: Float64Array): UnitFigures {
  const total = (of: (units: MeasuredUnits) => number) => all.reduce((sum, units) => sum + of(units), 0);
  const measured = total(({ indices }) => indices.length);
  const within = total((units) => units.within);
  const counted = (key: "scale" | "shift") =>
    all.flatMap((units) => Array.from(units.indices, (unit) => units[key][unit]!));
  return {
    units: total(({ counted }) => counted.length),
    measured,
    atLowest: total((units) => units.atLowest),
    notFinite: total((units) => units.notFinite),
    gap: measured === 0 ? 0 : Math.sqrt(total((units) => units.squares) / measured),
    within,
    share: measured === 0 ? 0 : within / measured,
    surely: total((units) => units.surely),
    possibly: total((units) => units.possibly),
    dealt: dealt(together, within),
    dealtApart: dealt(apart, within),
    scaleQuartiles: quartiles(counted("scale")),
    shiftQuartiles: quartiles(counted("shift")),
  };
}

function dealt(counts: Float64Array, within: number): Dealt {
  return {
    mean: counts.reduce((sum, count) => sum + count, 0) / counts.length,
    low: quantile(counts, 0.05),
    high: quantile(counts, 0.95),
    atLeast: counts.filter((count) => count >= within).length / counts.length,
  };
}
