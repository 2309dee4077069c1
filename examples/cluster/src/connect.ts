import { connect, type NatsConnection } from "@nats-io/transport-node";

/** A connection that outlives the broker's restarts. */
export const connectTo = (servers: string): Promise<NatsConnection> =>
  connect({
    servers,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 30,
    reconnectJitter: 20,
    waitOnFirstConnect: true,
  });
