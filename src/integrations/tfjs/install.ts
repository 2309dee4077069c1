import { typeError } from "../../errors.js";
import { hookLayers } from "./hooks.js";
import { defineLayers } from "./keras.js";
import { isServed } from "./normalize.js";
import { prepare, release } from "./place.js";
import { register } from "./registry.js";
import type { Tf } from "./types.js";

/** The module `@tensorflow/tfjs`, or tfjs-core and tfjs-layers as one object. */
export interface TensorFlow {
  /** What runs kernels, whose registries are added to. */
  engine(): object;
  /** Resolves once a backend is set. */
  ready(): Promise<void>;
  /** The name of the backend that is set. */
  getBackend(): string;
}

/** Takes back what `install` did. */
export interface Uninstall {
  /** When the last of several installs is taken back, everything is as it was. A second call does nothing. */
  (): void;
  /** The backend that is set, if the kernels serve it ("wasm", "cpu"); null where tfjs keeps its own. */
  readonly backend: "wasm" | "cpu" | null;
}

interface Installation {
  tf: Tf;
  /** How many installs have not been taken back. */
  count: number;
  undo: () => void;
}

/** Kept with tfjs's engine, so that another copy of this package finds it. */
const INSTALLED = Symbol.for("wasm-norm.tfjs");

type Marked = { [INSTALLED]?: Installation | undefined };

let current: Tf | undefined;

/** The module that was given to the last `install`. @throws Error before that */
export function installed(who: string): Tf {
  if (!current) throw new Error(`${who}: expected TensorFlow.js, got none: \`await install(tf)\` first`);
  return current;
}

function start(tf: Tf): Installation {
  const undo = [register(tf), hookLayers(tf), defineLayers(tf)];
  return {
    tf,
    count: 0,
    undo() {
      for (const step of undo.reverse()) step();
    },
  };
}

/**
 * Has TensorFlow.js normalize with this package's kernels: tf.layers.batchNormalization and layerNormalization, tf.batchNorm2d
 * to 4d and graph models' FusedBatchNorm, and Keras's further normalization layers, which tfjs lacks. Models need no change, also
 * those made or loaded before.
 *
 * Served are the wasm backend, without copies, and the cpu backend; import them before. With others (webgl, webgpu, node)
 * tfjs keeps its own.
 *
 * @throws TypeError for what is not TensorFlow.js
 */
export async function install(tensorflow: TensorFlow): Promise<Uninstall> {
  const tf = tensorflow as TensorFlow & Tf;
  const functions = ["engine", "ready", "getBackend", "registerKernel", "registerGradient"] as const;
  if (!tf || !functions.every((name) => typeof tf[name] === "function"))
    throw typeError("install", "the module @tensorflow/tfjs", tensorflow);
  await tf.ready();
  const marked = tf.engine() as Marked;
  const installation = (marked[INSTALLED] ??= start(tf));
  installation.count++;
  current = tf;
  if (tf.getBackend() === "wasm") await prepare(tf.backend());
  let taken = false;
  const uninstall = () => {
    if (taken) return;
    taken = true;
    if (--installation.count) return;
    installation.undo();
    release();
    delete marked[INSTALLED];
    current = undefined;
  };
  return Object.defineProperty(uninstall, "backend", {
    get: () => (!taken && isServed(tf) ? tf.getBackend() : null),
  }) as Uninstall;
}
