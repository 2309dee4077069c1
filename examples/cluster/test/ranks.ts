// Ranks as child processes, and what they report.
import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { wanted } from "./minibatch.ts";
import type { Report, Run } from "./rank.ts";

const U = 2 ** -23;

export type Failure = Extract<Report, { kind: "failed" }>;

const started = new Set<Rank>();

/** Ends all ranks that are still there: a test that failed must not keep the process. */
export const killAll = (): Promise<unknown> => Promise.all([...started].map((rank) => rank.kill()));

export class Rank {
  readonly reports: Report[] = [];
  readonly process: ChildProcess;
  #heard: (() => void) | undefined;

  constructor(url: string) {
    const file = fileURLToPath(new URL("rank.ts", import.meta.url));
    this.process = fork(file, [url], { execArgv: ["--import", "tsx"] });
    started.add(this);
    this.process.on("message", (report) => {
      this.reports.push(report as Report);
      this.#heard?.();
    });
    this.process.on("exit", () => this.#heard?.());
  }

  run(run: Run): void {
    this.process.send(run);
  }

  get alive(): boolean {
    return this.process.exitCode === null && this.process.signalCode === null;
  }

  /** The first report that fits. */
  async next(fits: (report: Report) => boolean, patience = 20_000): Promise<Report> {
    for (const deadline = Date.now() + patience; ; ) {
      const report = this.reports.find(fits);
      if (report) return report;
      assert.ok(this.alive, "the rank is gone");
      const rest = deadline - Date.now();
      assert.ok(rest > 0, `no such report in ${patience} ms, but ${JSON.stringify(this.reports.at(-1))}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, rest);
        this.#heard = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  async kill(): Promise<void> {
    started.delete(this);
    if (!this.alive) return;
    this.process.kill("SIGKILL");
    await once(this.process, "exit");
  }
}

/** Holds all that was reported of an epoch against the formulas, and the ranks against each other. */
export function judge(
  ranks: readonly Rank[],
  epoch: number,
  seed: number,
  size: number,
): { steps: number; failures: Failure[] } {
  const states = new Map<number, string>();
  const failures: Failure[] = [];
  let steps = 0;
  ranks.forEach((rank, r) => {
    for (const report of rank.reports) {
      if (report.kind === "done" || report.kind === "ready" || report.epoch !== epoch) continue;
      if (report.kind === "failed") {
        failures.push(report);
        continue;
      }
      const want = wanted(seed, report.step, size);
      const y = want.y[r]!;
      near(
        report.y,
        y,
        y.map((xhat) => 4.5 * U * Math.max(1, Math.abs(xhat))),
        `y of rank ${r}`,
      );
      near(report.dx, want.dx[r]!, want.allowed[r]!, `dx of rank ${r}`);
      assert.equal(report.state, states.get(report.step) ?? report.state, `state of rank ${r}`);
      states.set(report.step, report.state);
      steps++;
    }
  });
  return { steps, failures };
}

function near(got: readonly number[], want: Float64Array, allowed: Float64Array, what: string): void {
  assert.equal(got.length, want.length, what);
  want.forEach((value, i) => {
    assert.ok(Math.abs(got[i]! - value) <= allowed[i]!, `${what}[${i}]: expected ${value}, got ${got[i]}`);
  });
}
