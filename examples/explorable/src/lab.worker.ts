// Trains one run of the laboratory away from the page, which asks for each epoch: a pause is not asking.
import { expose } from "comlink";
import type { Digits } from "../../digits/data.ts";
import type { Setting } from "./lab-settings.ts";
import { experiment, type Standing } from "./lab-train.ts";

let run: Generator<Standing, void> | null = null;

const laboratory = {
  start(setting: Setting, training: Digits, test: Digits): void {
    run?.return();
    run = experiment(setting, training, test);
  },

  /** One epoch on, the first time to epoch 0; null at the end. */
  next: (): Standing | null => run!.next().value ?? null,
};

export type Laboratory = typeof laboratory;
expose(laboratory);
