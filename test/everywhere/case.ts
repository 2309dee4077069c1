/** What a runtime says of itself after it ran programs/proof.js. */
export interface Proof {
  variant: string;
  checksum?: string;
  /** In mode "threads". */
  threads?: number;
  threadsReason?: string;
}

/** One thing to show. `run` throws where it does not hold; what it returns stands in the table. */
export interface Case {
  where: string;
  what: string;
  run(): Promise<Proof[] | string>;
}

/** Without init, and with init and the training run: each in a fresh realm. */
export const MODES = ["plain", "simd"] as const;
export type Mode = (typeof MODES)[number];

/** The case that runs programs/proof.js in both modes. */
export const proofs = (where: string, what: string, prove: (mode: Mode) => Promise<Proof>): Case => ({
  where,
  what,
  async run() {
    const all: Proof[] = [];
    for (const mode of MODES) all.push(await prove(mode));
    return all;
  },
});
