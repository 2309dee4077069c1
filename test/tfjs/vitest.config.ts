import { defineConfig } from "vitest/config";

export default defineConfig({ test: { include: ["test/tfjs/*.test.ts"], testTimeout: 120_000 } });
