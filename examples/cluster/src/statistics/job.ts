// A job in JetStream: a work queue with a message for each shard, and a stream with a result for each. A shard's message
// stays in the queue until its result is stored; a worker that dies leaves it there. A result has the shard's own
// subject, so that the one of a shard that was done twice takes the place of the first: it has the same bits.

import { setTimeout as sleep } from "node:timers/promises";
import {
  AckPolicy,
  type JetStreamClient,
  type JetStreamManager,
  jetstream,
  jetstreamManager,
  RetentionPolicy,
} from "@nats-io/jetstream";
import { type NatsConnection, nanos } from "@nats-io/transport-node";

const CONSUMER = "workers";
/** A shard that no one has finished after as many milliseconds goes to another worker. */
const REDELIVERY = Number(process.env.REDELIVERY ?? 2000);
const RETRY = 100;

export interface Task {
  shard: number;
  file: string;
}

/** Does again what fails as long as the broker is away. */
export async function persistently<T>(work: () => Promise<T>, patience = 30_000): Promise<T> {
  for (const deadline = Date.now() + patience; ; await sleep(RETRY)) {
    try {
      return await work();
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
  }
}

export class Job {
  readonly #manager: JetStreamManager;
  readonly #client: JetStreamClient;
  readonly #name: string;

  private constructor(name: string, manager: JetStreamManager, client: JetStreamClient) {
    this.#name = name;
    this.#manager = manager;
    this.#client = client;
  }

  /** Opens a job; it and its streams are made where they are not there. */
  static async open(connection: NatsConnection, name: string): Promise<Job> {
    const timeout = 2000;
    const manager = await persistently(() => jetstreamManager(connection, { timeout }));
    const job = new Job(name, manager, jetstream(connection, { timeout }));
    await persistently(async () => {
      const subjects = [`${name}.shards`];
      await manager.streams.add({ name: job.#queue, subjects, retention: RetentionPolicy.Workqueue });
      await manager.streams.add({
        name: job.#results,
        subjects: [`${name}.results.*`],
        max_msgs_per_subject: 1,
      });
      await manager.consumers.add(job.#queue, {
        durable_name: CONSUMER,
        ack_policy: AckPolicy.Explicit,
        ack_wait: nanos(REDELIVERY),
      });
    });
    return job;
  }

  get #queue(): string {
    return `${this.#name}_shards`;
  }

  get #results(): string {
    return `${this.#name}_results`;
  }

  /** Puts a shard into the queue; twice is once. */
  async add(task: Task): Promise<void> {
    await persistently(() =>
      this.#client.publish(`${this.#name}.shards`, JSON.stringify(task), {
        msgID: `${this.#name}-${task.shard}`,
      }),
    );
  }

  /** Takes shards from the queue, as long as there are any for `idle` milliseconds at least, and stores what `work` gives. */
  async work(work: (task: Task) => string | Promise<string>, idle: number): Promise<number> {
    let done = 0;
    for (let last = Date.now(); Date.now() - last < idle; ) {
      await persistently(async () => {
        const consumer = await this.#client.consumers.get(this.#queue, CONSUMER);
        const message = await consumer.next({ expires: 1000 });
        if (!message) return;
        const task = message.json<Task>();
        const result = await work(task);
        // In this order: a shard leaves the queue when its result is safe.
        await this.#client.publish(`${this.#name}.results.${task.shard}`, result);
        await message.ackAck();
        done++;
        last = Date.now();
      });
    }
    return done;
  }

  /** How many shards have a result. */
  async finished(): Promise<number> {
    const { state } = await persistently(() =>
      this.#manager.streams.info(this.#results, { subjects_filter: ">" }),
    );
    return state.num_subjects ?? 0;
  }

  async result(shard: number): Promise<string> {
    const subject = `${this.#name}.results.${shard}`;
    const message = await persistently(() =>
      this.#manager.streams.getMessage(this.#results, { last_by_subj: subject }),
    );
    return message!.string();
  }

  async delete(): Promise<void> {
    for (const stream of [this.#queue, this.#results]) {
      await persistently(() => this.#manager.streams.delete(stream));
    }
  }
}
