// What a call costs on many ranks, from what it sends. All ranks publish once and hear all others: one round.

// Of a message: the protocol's header, and the description of the call in JSON.
const HEADER = 52;
const DESCRIPTION = 260;

export interface Cost {
  ranks: number;
  /** Bytes of one rank's message. */
  message: number;
  /** Messages that the broker delivers. */
  deliveries: number;
  /** Megabytes that a rank takes in, and that the broker gives out. */
  rankIn: number;
  brokerOut: number;
  /** Milliseconds, for the machine's own figures. */
  time: number;
}

export interface Machine {
  /** Milliseconds of a message's way there and back, with nothing else to do. */
  latency: number;
  /** Milliseconds that the broker works for a delivery. */
  perDelivery: number;
  /** Milliseconds that a rank works for a message that it receives, and for each megabyte of it. */
  perMessage: number;
  perMegabyte: number;
  /** Megabytes in a millisecond, of the broker's link. */
  bandwidth: number;
}

/** The costs of a forward over `channels`; backward sends two numbers a channel as well. */
export function costOf(ranks: number, channels: number, machine: Machine): Cost {
  const message = HEADER + DESCRIPTION + 8 * (1 + 2 * channels);
  const deliveries = ranks * (ranks - 1);
  const rankIn = ((ranks - 1) * message) / 1e6;
  const brokerOut = (deliveries * message) / 1e6;
  const { latency, perDelivery, perMessage, perMegabyte, bandwidth } = machine;
  const broker = Math.max(deliveries * perDelivery, brokerOut / bandwidth);
  const time = latency + Math.max(broker, (ranks - 1) * perMessage + rankIn * perMegabyte);
  return { ranks, message, deliveries, rankIn, brokerOut, time };
}
