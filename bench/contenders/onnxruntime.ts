/**
 * ONNX Runtime, for the web ("web": WebAssembly) or for Node ("node": native), on one thread. It has no
 * backward pass. Channels-last minibatches are given as the matrix of rows by channels, the only way it has to
 * normalize them without transposing.
 */
import { sizeOf } from "../shapes.ts";
import type { InputName, Inputs, Open, Prepared } from "./contender.ts";
import { epsOf } from "./contender.ts";
import { modelOf } from "./onnx-model.ts";

export const open: Open = async (library = "web") => {
  if (library === "web") {
    const ort = await import("onnxruntime-web");
    ort.env.wasm.numThreads = 1;
    return { prepare: (inputs) => prepare(ort, inputs) };
  }
  const ort = await import("onnxruntime-node");
  return { prepare: (inputs) => prepare(ort, inputs) };
};

type Runtime = Pick<typeof import("onnxruntime-common"), "InferenceSession" | "Tensor">;

const parameters: Record<string, InputName[]> = {
  "batch-norm": ["gamma", "beta", "mean", "var"],
  "layer-norm": ["gamma", "beta"],
  "rms-norm": ["gamma"],
};

async function prepare({ InferenceSession, Tensor }: Runtime, inputs: Inputs): Promise<Prepared> {
  const { shape } = inputs;
  const axes =
    shape.layout === "channels-first"
      ? [shape.n, shape.c, shape.h, shape.w]
      : [sizeOf(shape) / shape.c, shape.c];
  const feeds = { x: new Tensor("float32", inputs.read("x"), axes) };
  const weights = Object.fromEntries(parameters[shape.family]!.map((name) => [name, inputs.read(name)]));

  const ops: Prepared["ops"] = {};
  const sessions: { release(): Promise<void> }[] = [];
  for (const op of shape.family === "batch-norm" ? (["train", "eval"] as const) : (["train"] as const)) {
    const model = modelOf(shape.family, { axes, weights, eps: epsOf(shape), training: op === "train" });
    const session = await InferenceSession.create(model, { intraOpNumThreads: 1, interOpNumThreads: 1 });
    sessions.push(session);
    let y: Float32Array;
    ops[op] = {
      run: async () => {
        y = (await session.run(feeds)).y!.data as Float32Array;
      },
      outputs: () => ({ y }),
    };
  }
  return {
    ops,
    close: async () => {
      for (const session of sessions) await session.release();
    },
  };
}
