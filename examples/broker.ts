import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}

/** Whether a server greets on that port, as NATS does. */
function greets(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    const answer = (greeted: boolean) => {
      socket.destroy();
      resolve(greeted);
    };
    socket.once("error", () => answer(false));
    socket.once("data", (greeting) => answer(greeting.toString().startsWith("INFO")));
  });
}

/** A nats-server of one's own on loopback, with JetStream, which keeps its streams in files. */
export class Broker {
  readonly url: string;
  /** Where pages connect to; "" unless asked for. */
  readonly webSocketUrl: string;
  readonly #port: number;
  readonly #directory: string;
  #server: ChildProcess | undefined;

  private constructor(port: number, webSocketPort: number | undefined) {
    this.#port = port;
    this.webSocketUrl = webSocketPort ? `ws://127.0.0.1:${webSocketPort}` : "";
    this.url = `nats://127.0.0.1:${port}`;
    this.#directory = mkdtempSync(join(tmpdir(), "wasm-norm-nats-"));
    const webSocket = `websocket { host: "127.0.0.1", port: ${webSocketPort}, no_tls: true }\n`;
    // Websockets have no option on the command line.
    writeFileSync(this.#configuration, webSocketPort ? webSocket : "");
  }

  get #configuration(): string {
    return join(this.#directory, "nats.conf");
  }

  static async start({ webSocket = false } = {}): Promise<Broker> {
    const broker = new Broker(await freePort(), webSocket ? await freePort() : undefined);
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
    const options = [
      "-a",
      "127.0.0.1",
      "-p",
      String(this.#port),
      "-js",
      "-sd",
      this.#directory,
      "-c",
      this.#configuration,
    ];
    const server = spawn("nats-server", options, { stdio: "ignore" });
    let failed: Error | undefined;
    server.once("error", (cause) => {
      failed = new Error("nats-server cannot be started: it is Debian's package nats-server", { cause });
    });
    this.#server = server;
    for (const deadline = Date.now() + 10_000; !(await greets(this.#port)); await sleep(20)) {
      if (failed) throw failed;
      if (Date.now() > deadline) throw new Error("nats-server does not answer");
    }
  }

  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
