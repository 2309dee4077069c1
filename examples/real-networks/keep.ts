// What is kept of a network: its figures, and its units' parameters for the page that shows them.
import type { IdentityReport, LayerReport, NormLayer } from "wasm-norm/analysis";

/** Counts are kept whole. */
const rounded = (value: number) =>
  Number.isInteger(value) ? value : Number.isFinite(value) ? +value.toPrecision(4) : null;
const short = (_: string, value: unknown) => (typeof value === "number" ? rounded(value) : value);

/** The report without its units, four digits a figure. */
export function keepFigures({ layers, ...rest }: IdentityReport): string {
  const small = layers.map(({ scale, shift, counted, ...figures }: LayerReport) => figures);
  const lines = small.map((layer) => JSON.stringify(layer, short)).join(",\n");
  return `{"summary":${JSON.stringify(rest, short, 1)},\n"layers":[\n${lines}\n]}\n`;
}

const base64 = (bytes: ArrayBufferView) =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");

/** The layers as they are stored: 8-bit levels as bytes, anything else as float32, in base64. */
export function keepLayers(title: string, source: string, layers: readonly NormLayer[]): string {
  const array = (layer: NormLayer, key: "gamma" | "beta" | "mean" | "variance") => {
    const values = layer[key];
    const levels = layer.levels?.[key];
    if (!values) return null;
    if (!levels) return { float32: base64(Float32Array.from(values)) };
    const { lowest, step } = levels;
    return {
      ...levels,
      uint8: base64(
        Uint8Array.from(values, (value) => (step === 0 ? 0 : Math.round((value - lowest) / step))),
      ),
    };
  };
  const kept = layers.map((layer) => ({
    name: layer.name,
    kind: layer.kind,
    activation: layer.activation,
    eps: layer.eps,
    gamma: array(layer, "gamma"),
    beta: array(layer, "beta"),
    mean: array(layer, "mean"),
    variance: array(layer, "variance"),
  }));
  return `${JSON.stringify({ title, source, layers: kept })}\n`;
}
