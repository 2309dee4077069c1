/** How long is waited for what; tests wait for less. */
export const LIMITS = {
  /** For a worker to report: it takes 16 to 42 ms on an idle machine. */
  startMs: 3000,
  /** For a unit that someone else has claimed, while nothing else is left to do: a unit takes 0.02 to 1 ms. */
  claimMs: 2000,
  /** For a thread that was told to end to notice: engines look at every turn of a loop. */
  graceMs: 5,
  /** How long a worker looks for another job before it sleeps: from sleep, joining costs 34 us instead of 0.4. */
  spinMs: 0.2,
  /** How much more the caller may wait for others than they save before it does calls alone for a while. */
  patienceMs: 5,
  /** How long the caller looks for the last units before it gives its core away in turns. */
  lookMs: 0.3,
};
