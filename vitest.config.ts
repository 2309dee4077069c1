import { defineConfig } from "vitest/config";
import { checkedBuild } from "./test/checked/plugin.js";

const checked = Boolean(process.env.CHECKED);

export default defineConfig({
  plugins: checked ? [checkedBuild] : [],
  // every load and store of the checked build is a call
  test: { include: ["test/*.test.ts"], testTimeout: checked ? 600_000 : 60_000 },
});
