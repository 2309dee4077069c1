// Run by the build, after the compiler: optimizes build/*.wasm for size once more. Binaryen finds more in a binary than in what
// the compiler hands it: 0.5 kB of 29.6, or 0.25 kB of the two together as they are inlined. A third time finds nothing.
import { readFileSync, writeFileSync } from "node:fs";
import binaryen from "binaryen";

/** What the compiler takes for granted, and vectors. */
const { MutableGlobals, SignExt, NontrappingFPToInt, BulkMemory, BulkMemoryOpt, SIMD128, RelaxedSIMD } =
  binaryen.Features;
const features = MutableGlobals | SignExt | NontrappingFPToInt | BulkMemory | BulkMemoryOpt | SIMD128;

binaryen.setOptimizeLevel(2);
binaryen.setShrinkLevel(2);
for (const [name, more] of [
  ["simd", 0],
  ["relaxed-simd", RelaxedSIMD],
] as const) {
  const file = `build/${name}.wasm`;
  const module = binaryen.readBinary(readFileSync(file));
  module.setFeatures(features | more);
  module.optimize();
  module.optimize();
  // The most called first: their numbers are short.
  module.runPasses(["reorder-functions"]);
  writeFileSync(file, module.emitBinary());
}
