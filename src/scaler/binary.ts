import embedded from "../../build/scaler.json";

/** The scaler's kernels, inlined: nothing to host, nothing to fetch. */
export const binary = (): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(embedded.hex.match(/../g)!, (byte) => Number.parseInt(byte, 16));
