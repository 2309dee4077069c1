// What the further entries are asked for: one figure of each, whose value is known. It throws where one is wrong.
function near(what, got, want) {
  if (got.length !== want.length || want.some((value, i) => !(Math.abs(got[i] - value) <= 1e-6)))
    throw new Error(`${what}: expected ${want}, got ${[...got]}`);
}

/** A collective of this rank alone. */
const alone = { rank: 0, size: 1, allGather: async (bytes) => [bytes] };

export async function proveEntries({ scaler, collective, analysis }) {
  const { StandardScaler } = scaler;
  const standard = new StandardScaler(1).partialFit(Float32Array.of(1, 3));
  near("StandardScaler", standard.transform(Float32Array.of(1, 3, 5)), [-1, 1, 3]);
  const layer = new collective.SyncBatchNorm(1, { collective: alone, eps: 0 });
  near("SyncBatchNorm", await layer.forward(Float32Array.of(1, 3)), [-1, 1]);
  near("its backward", await layer.backward(Float32Array.of(1, 2)), [0, 0]);
  near("gamma's gradient", layer.gamma.grad, [1]);
  near("Spearman", [analysis.spearman([1, 2, 3, 4], [16, 9, 4, 1]).rho], [-1]);
  return "scaler, collective and analysis hold";
}
