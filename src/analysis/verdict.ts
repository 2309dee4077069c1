// The report in sentences.
import type { Median } from "./rank.js";
import type { GroupReport, IdentityReport } from "./report.js";

/** What a report comes to, a sentence or two each: what is there, against chance, and what gamma and beta follow. */
export function verdict(report: IdentityReport): string[] {
  const { all, kinds, tolerance } = report;
  if (all.measured === 0) return ["There is no unit with running statistics to judge."];
  return [
    `${whole(all.within)} of ${whole(all.measured)} units (${percent(all.share)} %) stand within ${tolerance} of undoing the normalization; ${chance(all)}.`,
    ...(kinds.length > 1
      ? kinds.map(
          (kind) => `${title(kind)}: ${whole(kind.within)} of ${whole(kind.measured)}; ${chance(kind)}.`,
        )
      : []),
    `The median unit's input is scaled by ${number(all.scaleQuartiles[1])} and moved by ${number(all.shiftQuartiles[1])} of its deviations (undone: 1 and 0); the root mean square distance is ${number(all.gap)}.`,
    follows(all.gammaSigma, "gamma", "the standard deviation"),
    follows(all.betaMean, "beta", "the mean"),
    conclusion(all),
  ].filter((sentence) => sentence !== "");
}

/** Whether there are more or fewer than dealing at random leaves. */
function chance({ within, dealt }: GroupReport): string {
  const left = `dealing them at random leaves ${number(dealt.mean)} (${whole(dealt.low)} to ${whole(dealt.high)})`;
  if (within > dealt.high) return `${left}: more than chance`;
  return within < dealt.low ? `${left}: fewer than chance` : `${left}: no more than chance`;
}

function follows(correlation: Median | null, parameter: string, statistic: string): string {
  if (!correlation) return "";
  const { median, low, high, count } = correlation;
  const interval = low === null ? "" : `, ${number(low)} to ${number(high!)} with 95 % confidence`;
  const sure = low !== null && (low > 0 || high! < 0);
  const how = !sure ? "does not surely follow" : median > 0 ? "follows" : "goes against";
  return `Across a layer's units ${parameter} ${how} ${statistic}: Spearman's rank correlation ${number(median)} in the median of ${count} layers${interval}.`;
}

function conclusion({ share, gammaSigma, betaMean }: GroupReport): string {
  const part = (one: Median | null) => one?.low !== null && one !== null && one.low > 0;
  if (share > 0.5) return "So here gamma and beta do undo the normalization in most units.";
  const back = part(gammaSigma)
    ? part(betaMean)
      ? "; gamma gives part of the scale back, and beta part of the mean"
      : "; gamma gives part of the scale back, beta nothing of the mean"
    : part(betaMean)
      ? "; beta gives part of the mean back"
      : "";
  return `So gamma and beta do not undo the normalization here${back}.`;
}

const title = ({ kind, layers }: GroupReport): string =>
  `${kind[0]!.toUpperCase()}${kind.slice(1)} (${layers} ${layers === 1 ? "layer" : "layers"})`;

const whole = (value: number): string => Math.round(value).toLocaleString("en");
const percent = (share: number): string => number(100 * share);
/** Three digits at most, and no "-0". */
const number = (value: number): string =>
  Math.abs(value) >= 100 ? whole(value) : String(+value.toFixed(2) + 0);
