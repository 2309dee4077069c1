import { connect, type NatsConnection } from "@nats-io/transport-node";

/** A connection that outlives the broker's restarts, and does not hear what it says itself. */
export const connectTo = (servers: string): Promise<NatsConnection> =>
  connect({
    servers,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 30,
    reconnectJitter: 20,
    waitOnFirstConnect: true,
    noEcho: true,
  });
