import { defineConfig } from "vitest/config";
import { checkedBuild } from "./test/checked/plugin.js";

const checked = Boolean(process.env.CHECKED);

export default defineConfig({
  plugins: checked ? [checkedBuild] : [],
  test: {
    include: ["test/*.test.ts"],
    // Workers have the plain kernels alone; what a thread does to a tile is checked on one.
    exclude: checked ? ["test/threads*.test.ts"] : [],
    // every load and store of the checked build is a call
    testTimeout: checked ? 600_000 : 60_000,
  },
});
