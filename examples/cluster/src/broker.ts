import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { connect, type NatsConnection } from "@nats-io/transport-node";

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}

/** A nats-server of one's own on loopback, with JetStream, which keeps its streams in files. */
export class Broker {
  readonly url: string;
  readonly #port: number;
  readonly #directory: string;
  #server: ChildProcess | undefined;

  private constructor(port: number) {
    this.#port = port;
    this.url = `nats://127.0.0.1:${port}`;
    this.#directory = mkdtempSync(join(tmpdir(), "wasm-norm-nats-"));
  }

  static async start(): Promise<Broker> {
    const broker = new Broker(await freePort());
    await broker.restart();
    return broker;
  }

  /** Ends the server at once, as a crash would. */
  async kill(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (!server || server.exitCode !== null) return;
    server.kill("SIGKILL");
    await once(server, "exit");
  }

  /** Starts the server, on the port and the files of before. */
  async restart(): Promise<void> {
    await this.kill();
    const options = ["-a", "127.0.0.1", "-p", String(this.#port), "-js", "-sd", this.#directory];
    const server = spawn("nats-server", options, { stdio: "ignore" });
    let failed: Error | undefined;
    server.once("error", (error) => {
      failed = new Error("nats-server cannot be started: Debian has it in the package nats-server", {
        cause: error,
      });
    });
    this.#server = server;
    for (const deadline = Date.now() + 10_000; ; await sleep(20)) {
      if (failed) throw failed;
      try {
        await (await connectTo(this.url, { reconnect: false })).close();
        return;
      } catch (error) {
        if (Date.now() > deadline) throw error;
      }
    }
  }

  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** A connection that outlives the broker's restarts. */
export const connectTo = (servers: string, options: { reconnect?: boolean } = {}): Promise<NatsConnection> =>
  connect({
    servers,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 30,
    reconnectJitter: 20,
    waitOnFirstConnect: options.reconnect !== false,
    ...options,
  });
