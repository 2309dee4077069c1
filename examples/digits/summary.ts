import type { Arm } from "./arms.ts";
import type { Epoch } from "./train.ts";

/** Share of the training rows right that counts as trained. */
const TRAINED = 0.95;

/** One arm's figures, each a mean over its seeds. */
export interface Summary {
  arm: Arm;
  epochs: number;
  seeds: number;
  /** At the start and after the last epoch. */
  lossBefore: number;
  loss: number;
  /** NaN in the control, as all that is not defined for an arm. */
  testAccuracy: number;
  /** Lowest and highest over the seeds. */
  testAccuracyRange: readonly [low: number, high: number];
  /** Until 95 % of the training rows are right; NaN if a seed does not get there. */
  epochsTo95: number;
  gapBefore: number;
  gapAfter: number;
  /** After training, with gamma and beta put back to where they started. */
  gapUnmoved: number;
  /** Over all steps. */
  projectedOut: number;
  /** The gap before training and after each epoch. */
  gapCurve: number[];
}

/** `runs`: for each seed the arm's epochs from 0 on. */
export function summarize(arm: Arm, runs: readonly (readonly Epoch[])[]): Summary {
  const over = (value: (run: readonly Epoch[]) => number) => mean(runs.map(value));
  const first = (run: readonly Epoch[]) => run[0]!;
  const last = (run: readonly Epoch[]) => run[run.length - 1]!;
  const accuracies = runs.map((run) => last(run).testAccuracy);
  return {
    arm,
    epochs: last(runs[0]!).epoch,
    seeds: runs.length,
    lossBefore: over((run) => first(run).loss),
    loss: over((run) => last(run).loss),
    testAccuracy: mean(accuracies),
    testAccuracyRange: [Math.min(...accuracies), Math.max(...accuracies)],
    epochsTo95: over((run) => run.find((at) => at.trainingAccuracy >= TRAINED)?.epoch ?? Number.NaN),
    gapBefore: over((run) => first(run).gap?.rms ?? Number.NaN),
    gapAfter: over((run) => last(run).gap?.rms ?? Number.NaN),
    gapUnmoved: over((run) => last(run).gap?.rmsUnmoved ?? Number.NaN),
    projectedOut: over((run) => mean(run.slice(1).map((at) => at.projectedOut))),
    gapCurve: runs[0]!.map((_, epoch) => over((run) => run[epoch]!.gap?.rms ?? Number.NaN)),
  };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
