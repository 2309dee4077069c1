import type { Arm } from "./arms.ts";
import type { Summary } from "./summary.ts";

/** An identity gap that counts as undone: output and input a tenth of the input's standard deviation apart. */
const UNDONE = 0.1;

/**
 * Do gamma and beta undo batch normalization? In sentences, a paragraph each, the short answer first; what they
 * say depends on the figures that they quote. `summaries` has all five arms; m is the examples in a minibatch.
 */
export function answer(summaries: readonly Summary[], m: number): string[] {
  const of = (id: Arm["id"]) => summaries.find((summary) => summary.arm.id === id)!;
  const [plain, normalized, learned] = [of("plain"), of("normalized"), of("learned")];
  const [undone, control] = [of("undone"), of("control")];
  return [
    inShort(control, learned, undone),
    onControl(control),
    onLearned(learned, normalized),
    onUndone(undone),
    onTraining(undone, plain),
    onAccuracy(learned, normalized, plain),
    onGradient(learned, control, m),
    onRealNetworks(),
  ];
}

/** Measured by examples/real-networks, whose README says how; a test compares these figures with its results. */
export const REAL_NETWORKS = [
  { title: "MobileNetV2", within: 95, measured: 16460, dealt: 69 },
  { title: "Inception v3", within: 132, measured: 17082, dealt: 133 },
  { title: "SSD MobileNetV1", within: 10, measured: 4807, dealt: 12 },
  { title: "a text direction classifier", within: 43, measured: 2136, dealt: 44 },
] as const;

function onRealNetworks(): string {
  const counts = REAL_NETWORKS.map(
    ({ title, within, measured, dealt }) =>
      `${title} ${within} of ${measured.toLocaleString("en")} (${dealt} when dealt)`,
  );
  return (
    "In networks that others trained they do not undo it either: units within 0.1 of it, and how many there are when " +
    `each layer's gammas and betas are dealt to its units at random, are in ${counts.join(", ")}. Across a layer's ` +
    "units gamma follows the standard deviation (rank correlation 0.33 in MobileNetV2's median layer), beta not the " +
    "mean (-0.04); examples/real-networks says how it was measured."
  );
}

function inShort(control: Summary, learned: Summary, undone: Summary): string {
  const starts = [learned, undone];
  const there = starts.filter((summary) => summary.gapAfter < UNDONE).length;
  const nearer = starts.some((summary) => summary.gapAfter < summary.gapUnmoved);
  const digits = [
    nearer
      ? "On the digits they come nearer to it, but do not end there."
      : "On the digits training takes them elsewhere, from either start.",
    `On the digits they end there from one start (${learned.gapAfter < UNDONE ? "gamma 1, beta 0" : "the undoing"}) and not from the other.`,
    "On the digits they end there as well, from either start.",
  ][there]!;
  return control.gapAfter < UNDONE
    ? `Gamma and beta can undo batch normalization, and where that is the best answer they do. ${digits}`
    : `In this run gamma and beta did not come to undo batch normalization even where that is the best answer. ${digits}`;
}

function onControl({ gapBefore, gapAfter, gapUnmoved, gapCurve, epochs }: Summary): string {
  const highest = Math.max(...gapCurve);
  const detour =
    highest > gapBefore
      ? ` On the way it rises to ${gap(highest)}: a layer that comes to be undone changes the input of those above it.`
      : "";
  return (
    `Control, where undoing is the best answer: gamma and beta ${gapAfter < UNDONE ? "find it by themselves" : "do not get there"}. ` +
    `The identity gap goes from ${gap(gapBefore)} to ${gap(gapAfter)} in ${epochs} epochs; put back to 1 and 0 ` +
    `they would stand at ${gap(gapUnmoved)}.${detour}`
  );
}

function onLearned(learned: Summary, normalized: Summary): string {
  const { gapBefore, gapAfter, gapUnmoved } = learned;
  const start = `Learned from gamma 1, beta 0: they ${gapAfter < UNDONE ? "go to the undoing" : "do not undo it"}. The gap goes from ${gap(gapBefore)} to ${gap(gapAfter)}`;
  const fixed = `with gamma and beta fixed it goes from ${gap(normalized.gapBefore)} to ${gap(normalized.gapAfter)}`;
  const unmoved = `put back to 1 and 0 under the trained weights they would stand at ${gap(gapUnmoved)}`;
  if (gapAfter < gapUnmoved) {
    return `${start}; ${unmoved}, so they went ${percent(1 - gapAfter / gapUnmoved)} % of the way themselves; ${fixed}.`;
  }
  return gapAfter < gapBefore
    ? `${start}, but that is the weights' doing (${fixed}). Gamma and beta themselves moved away: ${unmoved}.`
    : `${start}. Gamma and beta themselves moved away: ${unmoved}; ${fixed}.`;
}

function onUndone({ gapBefore, gapAfter, gapUnmoved }: Summary): string {
  const what =
    gapAfter < UNDONE
      ? "they stay"
      : gapAfter > gapUnmoved
        ? "they leave"
        : "they follow part of the way as the weights move it";
  return (
    `Started where they undo it: ${what}. The gap goes from ${gap(gapBefore)} to ${gap(gapAfter)}; put back to ` +
    `where they started under the trained weights they would stand at ${gap(gapUnmoved)}.`
  );
}

function onTraining(undone: Summary, plain: Summary): string {
  const same = Math.abs(undone.lossBefore - plain.lossBefore) < 1e-3 * plain.lossBefore;
  const [a, b] = [undone, plain].map(({ epochsTo95 }) =>
    Number.isNaN(epochsTo95) ? Number.POSITIVE_INFINITY : epochsTo95,
  );
  const pace = a === b ? "trains as fast" : `trains ${a! < b! ? "faster" : "slower"}`;
  return (
    `That start ${same ? "computes" : "does not compute"} what no normalization computes (loss ` +
    `${undone.lossBefore.toFixed(4)} and ${plain.lossBefore.toFixed(4)}) and ${pace}: 95 % of the training rows ` +
    `after ${epochsTo95(undone)} epochs, without after ${epochsTo95(plain)}.` +
    (same && a !== b ? " The same function, other training dynamics." : "")
  );
}

function onAccuracy(learned: Summary, normalized: Summary, plain: Summary): string {
  const [low, high] = learned.testAccuracyRange;
  const apart = low > normalized.testAccuracyRange[1] || high < normalized.testAccuracyRange[0];
  return (
    `Test rows right: ${accuracy(learned)} with gamma and beta learned, ${accuracy(normalized)} with them fixed, ` +
    `${accuracy(plain)} without normalization (lowest and highest of ${learned.seeds} seeds). Learned and fixed ` +
    `are ${apart ? "" : "not "}further apart than the seeds are.`
  );
}

function onGradient(learned: Summary, control: Summary, m: number): string {
  return (
    `Of the gradient's energy ${percent(learned.projectedOut)} % stops at a normalization (learned arm, mean over ` +
    `layers and steps; a random gradient of ${m} examples loses ${percent(2 / m)} %). In the control, where all ` +
    `that is wrong is a scale and a shift, it is ${percent(control.projectedOut)} %.`
  );
}

function epochsTo95({ epochsTo95, epochs }: Summary): string {
  return Number.isNaN(epochsTo95) ? `more than ${epochs}` : epochsTo95.toFixed(1);
}

function accuracy({ testAccuracy, testAccuracyRange: [low, high] }: Summary): string {
  return `${percent(testAccuracy)} % (${percent(low)} to ${percent(high)})`;
}

const gap = (value: number) => value.toFixed(2);
const percent = (share: number) => (100 * share).toFixed(1);
