// The protocol, whatever carries its messages. A call is a step: each rank sends its bytes to all others, and who lacks a
// rank's bytes asks for them, first that rank, then those who have them. At the deadline the ranks tell each other whom
// they miss; who has it sends it; what is missing then fails the step. A step that failed counts as one that is done, so
// that the ranks stay together, and a rank that comes late to it learns so at once.
//
// No protocol can make all agree at a deadline when messages get lost at that moment. Where one rank finished a step
// that another gave up, the next step says so on all ranks ("diverged"), and the epoch is over.

import { isUint8Array } from "../arrays.js";
import { checkFinite, checkInteger, readOptions, typeError } from "../errors.js";
import { crc32 } from "./crc32.js";
import { type CollectiveError, type CollectiveErrorCode, failureOf } from "./error.js";
import { Mailbox } from "./mailbox.js";
import { type Breach, type Call, Members, REASONS } from "./members.js";
import { Outbox } from "./outbox.js";
import { mostCommon } from "./ranks.js";
import type { Collective, GroupOptions, Transport } from "./types.js";
import { decode, decodeRanks, Kind, type Message } from "./wire.js";

/** As many failed steps are remembered: a rank that is further behind finds them out one deadline at a time. */
const FAILED_STEPS = 1024;
const MOST_PARTS = 1 << 20;
/** A collective over a transport, and what can be said of it. */
export class Group implements Collective {
  readonly rank: number;
  readonly size: number;
  /** Milliseconds after which a call fails. */
  readonly deadline: number;
  /** Which run of the group this is. */
  readonly epoch: number;
  readonly #who: string;
  readonly #outbox: Outbox;
  readonly #members: Members;
  /** Steps done, finished or failed: the number of the next or the present one. */
  #step = 0;
  #history = 0;
  #mail = new Map<number, Mailbox>();
  readonly #failed = new Map<number, number[]>();
  /** How many steps each rank is known to have done. */
  readonly #progress: number[];
  #broken: Breach | undefined;
  #closed = false;
  #call: Call | undefined;
  #queue: Promise<unknown> = Promise.resolve();
  #left: (() => void) | undefined;

  /** @throws TypeError, RangeError for a wrong option */
  constructor(who: string, transport: Transport, options: GroupOptions) {
    const o = readOptions(who, options, { rank: undefined, size: undefined, deadline: 10_000, epoch: 0 });
    this.size = checkInteger(who, "size", o.size, 1, 2 ** 16);
    this.rank = checkInteger(who, "rank", o.rank, 0, this.size - 1);
    this.deadline = checkFinite(who, "deadline", o.deadline, 1, 2 ** 31 - 1);
    this.epoch = checkInteger(who, "epoch", o.epoch, 0, 2 ** 32 - 1);
    this.#who = who;
    this.#progress = new Array<number>(this.size).fill(0);
    const { rank, size, epoch } = this;
    const nonce = crypto.getRandomValues(new BigUint64Array(1))[0]!;
    this.#members = new Members(rank, size, epoch, nonce);
    // The others are not told: nothing more can go out, and they keep their deadline.
    const closed = () => this.#break({ code: "closed", ranks: [rank] }, false);
    this.#outbox = new Outbox(transport, { rank, size, epoch, nonce }, closed);
    transport.listen((raw) => this.#receive(raw));
  }

  /** How many calls are done, failed ones among them. */
  get step(): number {
    return this.#step;
  }

  /**
   * Gives every rank the bytes of every rank, in the order of ranks. Calls queue: the deadline of one begins when the one
   * before it is done.
   *
   * @throws TypeError unless `bytes` is a Uint8Array
   * @throws CollectiveError where a rank is missing at the deadline or the group is broken
   */
  allGather(bytes: Uint8Array): Promise<Uint8Array[]> {
    const who = `${this.#who}.allGather`;
    if (!isUint8Array(bytes)) return Promise.reject(typeError(who, "bytes to be a Uint8Array", bytes));
    const own = Uint8Array.from(bytes);
    const result = this.#queue.then(() => this.#gather(own));
    this.#queue = result.catch(() => {});
    return result;
  }

  /**
   * Leaves the group, once all others have done the steps that this rank has done: they may still want its bytes. Waits
   * for that as long as a call would, but no more than a second.
   */
  async close(): Promise<void> {
    await this.#queue;
    if (this.#closed) return;
    this.#closed = true;
    if (!this.#broken && this.#step > 0 && this.size > 1) await this.#leave();
    this.#outbox.close();
  }

  async #leave(): Promise<void> {
    const patience = Math.min(this.deadline, 1000);
    const say = () => this.#outbox.send(Kind.Leaving, this.#step);
    const again = setInterval(say, Math.max(5, patience / 20));
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, patience);
      this.#left = () => {
        const behind = this.#progress.some((step, rank) => rank !== this.rank && step < this.#step);
        if (behind && !this.#broken) return;
        clearTimeout(timer);
        resolve();
      };
      say();
      this.#left();
    });
    clearInterval(again);
    say();
  }

  #gather(bytes: Uint8Array): Promise<Uint8Array[]> {
    const step = this.#step;
    if (this.#closed) return Promise.reject(this.#error("closed", [this.rank]));
    if (this.#broken) return Promise.reject(this.#error(this.#broken.code, this.#broken.ranks));
    return new Promise((resolve, reject) => {
      const call: Call = { resolve, reject, timers: new Set(), verdicts: undefined };
      this.#call = call;
      const failed = this.#failed.get(step);
      if (failed) {
        this.#fail(failed, false);
        return;
      }
      const mail = this.#mailbox(step);
      mail.write(this.#outbox.header(Kind.Data, step, this.#history), bytes, this.#outbox.maxBytes);
      this.#outbox.post(mail.messages(this.rank));
      this.#check();
      if (this.#call !== call) return;
      this.#ask(call, 0, Math.min(Math.max(this.deadline / 40, 2), 40));
      this.#after(call, this.deadline - this.#grace, () => this.#judge(call));
    });
  }

  /** Time for the last exchange before a step fails. */
  get #grace(): number {
    return Math.min(this.deadline / 8, 100);
  }

  #after(call: Call, milliseconds: number, work: () => void): void {
    const timer = setTimeout(() => {
      call.timers.delete(timer);
      if (this.#call === call) work();
    }, milliseconds);
    call.timers.add(timer);
  }

  /** Asks for what is missing, again and again at growing distances. */
  #ask(call: Call, attempt: number, pause: number): void {
    this.#after(call, pause, () => {
      this.#ask(call, attempt + 1, Math.min(pause * 1.5, this.deadline / 8));
      this.#outbox.send(Kind.Request, this.#step, this.#mailbox(this.#step).missing(), attempt);
    });
  }

  /** Says whom this rank misses, and soon after gives the step up, unless they came. */
  #judge(call: Call): void {
    if (call.verdicts?.has(this.rank)) return;
    call.verdicts ??= new Map();
    const missing = this.#mailbox(this.#step).missing();
    call.verdicts.set(this.rank, missing);
    this.#after(call, this.#grace, () => {
      // Whom one rank has heard was there: only those whom all miss are to blame, where there are any.
      const verdicts = [this.#mailbox(this.#step).missing(), ...call.verdicts!.values()];
      const common = missing.filter((rank) => verdicts.every((ranks) => ranks.includes(rank)));
      this.#fail(common.length > 0 ? common : [...new Set(verdicts.flat())].sort((a, b) => a - b), true);
    });
    this.#outbox.send(Kind.Verdict, this.#step, missing);
  }

  #fail(ranks: number[], tell: boolean): void {
    const step = this.#step;
    const error = this.#error("timeout", ranks);
    this.#failed.set(step, ranks);
    if (this.#failed.size > FAILED_STEPS) this.#failed.delete(this.#failed.keys().next().value!);
    this.#end(~this.#history >>> 0).reject(error);
    if (tell) this.#outbox.send(Kind.Failed, step, ranks);
  }

  /** Finishes the step, if all have come. */
  #check(): void {
    const mail = this.#mailbox(this.#step);
    if (!this.#call || !mail.complete) return;
    const histories = mail.histories();
    if (histories.some((history) => history !== histories[0])) {
      // All ranks see the same bytes here, and come to the same result.
      const common = mostCommon(histories);
      const odd = histories.flatMap((history, rank) => (history === common ? [] : [rank]));
      this.#break({ code: "diverged", ranks: odd }, true);
      return;
    }
    this.#end(crc32(mail.checksums(), this.#history)).resolve(mail.read());
  }

  /** Ends the present call: the next one is another step. */
  #end(history: number): Call {
    const call = this.#call!;
    for (const timer of call.timers) clearTimeout(timer);
    this.#call = undefined;
    this.#history = history;
    this.#step++;
    // The step just done is kept, since others may lack something of it; they cannot be further behind.
    this.#mail.delete(this.#step - 2);
    return call;
  }

  #break(breach: Breach, tell: boolean): void {
    if (this.#broken) return;
    this.#broken = breach;
    if (tell) this.#tellBroken(breach);
    const error = this.#error(breach.code, breach.ranks);
    if (this.#call) this.#end(this.#history).reject(error);
    this.#left?.();
  }

  #tellBroken({ code, ranks }: Breach): void {
    this.#outbox.send(Kind.Broken, this.#step, ranks, REASONS.indexOf(code));
  }

  #receive(raw: Uint8Array): void {
    const message = this.#members.judge(decode(raw));
    if (!message) return;
    // To those of a later epoch nothing that is said here means anything.
    if ("code" in message) this.#break(message, message.code !== "epoch");
    else if (this.#broken && message.kind !== Kind.Broken) this.#tellBroken(this.#broken);
    else this.#handle(message);
  }

  #handle(message: Message): void {
    const { kind, step, rank, part, payload } = message;
    const ranks = kind === Kind.Data ? [] : decodeRanks(payload, this.size);
    if (kind === Kind.Broken) {
      this.#break({ code: REASONS[part] ?? "diverged", ranks }, false);
      return;
    }
    const present = step === this.#step;
    this.#progress[rank] = Math.max(this.#progress[rank]!, step);
    this.#left?.();
    if (kind === Kind.Leaving) {
      this.#outbox.send(Kind.Progress, this.#step);
      return;
    }
    if (kind === Kind.Failed) {
      if (present && this.#call) this.#fail(ranks, false);
      else if (step >= this.#step && step < this.#step + FAILED_STEPS) this.#failed.set(step, ranks);
      else if (step === this.#step - 1 && !this.#failed.has(step))
        this.#break({ code: "diverged", ranks: [rank] }, true);
      return;
    }
    const failed = step < this.#step && this.#failed.get(step);
    if (failed) {
      this.#outbox.send(Kind.Failed, step, failed);
      return;
    }
    if (kind === Kind.Data) {
      if (step < this.#step || step > this.#step + 1 || message.parts > MOST_PARTS) return;
      this.#mailbox(step).take(message);
      if (present) this.#check();
    } else if (kind === Kind.Request || kind === Kind.Verdict) {
      this.#supply(step, ranks, kind === Kind.Verdict ? 2 : part);
      if (kind === Kind.Verdict && present && this.#call) {
        (this.#call.verdicts ??= new Map()).set(rank, ranks);
        this.#judge(this.#call);
      }
    }
  }

  /** Sends what another rank misses: its own bytes, and from the third time that it asks on those of one other rank. */
  #supply(step: number, ranks: readonly number[], attempt: number): void {
    const mail = this.#mail.get(step);
    for (const rank of mail ? ranks : []) {
      const turn = attempt >= 2 && (rank + attempt - 1) % this.size === this.rank;
      if (rank === this.rank || turn) this.#outbox.post(mail!.messages(rank));
    }
  }

  #mailbox(step: number): Mailbox {
    let mail = this.#mail.get(step);
    if (!mail) this.#mail.set(step, (mail = new Mailbox(this.size)));
    return mail;
  }

  #error(code: CollectiveErrorCode, ranks: readonly number[]): CollectiveError {
    return failureOf(this.#who, code, ranks, this.#step, this);
  }
}
