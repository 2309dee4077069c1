/** In real Chromium, bundled by Vite, against float64 and stock. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { backward, forward, geometry, statistics } from "../reference.js";
import { type Chromium, open } from "./browser.js";
import { gap, sizeOf, values } from "./setup.js";

let pages: Awaited<ReturnType<typeof open>>;
beforeAll(async () => {
  pages = await open();
}, 120_000);
afterAll(() => pages?.close());

/** One page of memory: what the package's own runtime has before anything is copied into it. */
const UNUSED = 65536;

describe.each([
  ["wasm", "plain"],
  ["wasm", "isolated"],
  ["cpu", "plain"],
] as const)("%s, %s page", (backend, kind) => {
  let page: Chromium;
  beforeAll(async () => {
    page = pages[kind];
    expect(await page.isolated()).toBe(kind === "isolated");
    expect(await page.call("use", backend)).toBe(kind === "isolated");
  });

  test.each([
    ["batch", [64, 128]],
    ["batch", [9, 7]],
    ["batch", [4, 6, 6, 13]],
    ["layer", [64, 512]],
    ["layer", [9, 7]],
    ["layer", [6, 5, 11]],
  ] as const)("%s norm of %j: y and gradients", async (kind, [...shape]) => {
    const size = kind === "batch" ? shape.at(-1)! : sizeOf(shape.slice(1));
    const x = values(sizeOf(shape), 1);
    const dy = values(sizeOf(shape), 2, 1, 0);
    const gamma = values(size, 3, 1, 1.2);
    const beta = values(size, 4, 1, 0);
    const given = { x: [...x], dy: [...dy], gamma: [...gamma], beta: [...beta] };
    const got = await page.call("normalize", { kind, shape, ...given });
    const last = shape.length - 1;
    const g =
      kind === "batch"
        ? geometry(shape, [last], [last])
        : geometry(
            shape,
            [0],
            shape.map((_, axis) => axis).filter((axis) => axis > 0),
          );
    const s = statistics(x, g, { eps: 1e-3 });
    const expected = backward(x, dy, g, s, { gamma });
    const wanted = [forward(x, g, s, { gamma, beta }).y, expected.dx, expected.dgamma, expected.dbeta];
    expect(got.backend).toBe(backend);
    expect(got.results).toHaveLength(wanted.length);
    for (const [i, want] of wanted.entries()) expect(gap(got.results[i]!, want)).toBeLessThan(3e-7);
    expect(got.left).toBe(0);
    if (backend === "wasm") expect(got.ownBytes).toBe(UNUSED);
  });

  test("a model trains and predicts as stock does", async () => {
    const [x, target] = [values(32 * 8, 1), values(32, 2)];
    const { stock, installed, left } = await page.call("train", 100, [...x], [...target]);
    expect(installed.losses.at(-1)).toBeLessThan(0.3 * installed.losses[0]!);
    expect(gap(installed.losses, stock.losses)).toBeLessThan(1e-6);
    expect(gap(installed.predicted, stock.predicted)).toBeLessThan(1e-5);
    expect(left).toBe(0);
  });
});
