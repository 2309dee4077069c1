// Trains one arm of examples/digits away from the page: the page asks for each epoch, so it sets the pace, and a
// pause is not asking.
import { expose, transfer } from "comlink";
import { ARMS, type Arm } from "../../digits/arms.ts";
import type { Digits } from "../../digits/data.ts";
import type { Network } from "../../digits/network.ts";
import { type Epoch, type Settings, type Step, train, untrained } from "../../digits/train.ts";

let network: Network | null = null;
let run: Generator<Step | Epoch, void> | null = null;

const trainer = {
  start(id: Arm["id"], settings: Settings, training: Digits, test: Digits): void {
    run?.return();
    const arm = ARMS.find((one) => one.id === id)!;
    network = untrained(arm, settings);
    run = train(arm, training, test, settings, network);
  },

  /** One epoch on, the first time to epoch 0: the losses of its steps, and how the network stands. Null at the end. */
  next(): { losses: number[]; epoch: Epoch } | null {
    const losses: number[] = [];
    for (;;) {
      const { value } = run!.next();
      if (!value) return null;
      if (value.kind === "epoch") return { losses, epoch: value };
      losses.push(value.loss);
    }
  },

  /** The first hidden layer's pre-activations for `pixels`. */
  firstLayer(pixels: Float32Array): Float32Array {
    const h = network!.hidden[0]!.dense.forward(pixels);
    return transfer(h, [h.buffer]);
  },
};

export type Trainer = typeof trainer;
expose(trainer);
