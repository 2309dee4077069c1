import Fastify, { type FastifyInstance } from "fastify";
import { BatchNorm, runtimeInfo } from "wasm-norm";

/** A state dict as JSON holds it: `BatchNorm.stateDict()` with arrays of numbers. */
export type SavedState = Record<string, number[]>;

const BODY_LIMIT = 1 << 20;
const LARGEST_FLOAT32 = 3.4028234663852886e38;

/** A layer in evaluation mode with the state of one that was trained. */
export function loadLayer(state: SavedState): BatchNorm {
  const layer = new BatchNorm(state.running_mean?.length ?? 0);
  layer.loadStateDict(
    Object.fromEntries(Object.entries(state).map(([name, values]) => [name, Float32Array.from(values)])),
  );
  return layer.eval();
}

/**
 * The service around a layer, which it owns from then on:
 *
 * - `POST /normalize`, JSON `{ "rows": [[...], ...] }`: the same with every row normalized;
 * - `POST /normalize`, `application/octet-stream`, little-endian float32, row after row: the same;
 * - `GET /health`: what the layer expects and how much memory is in use.
 *
 * A body it cannot take gets a 4xx with the reason in `message`.
 */
export function buildService(layer: BatchNorm): FastifyInstance {
  const { features } = layer;
  const service = Fastify({ bodyLimit: BODY_LIMIT, ajv: { customOptions: { coerceTypes: false } } });

  const normalize = (batch: Float32Array) =>
    layer.forwardInto(batch, batch, [batch.length / features, features]);

  service.addContentTypeParser("application/octet-stream", { parseAs: "buffer" }, (_request, body, done) => {
    done(null, body);
  });

  const rows = {
    type: "array",
    items: {
      type: "array",
      minItems: features,
      maxItems: features,
      items: { type: "number", minimum: -LARGEST_FLOAT32, maximum: LARGEST_FLOAT32 },
    },
  };
  const json = { type: "object", required: ["rows"], additionalProperties: false, properties: { rows } };

  service.post<{ Body: Buffer | { rows: number[][] } }>(
    "/normalize",
    {
      schema: {
        body: {
          content: { "application/json": { schema: json }, "application/octet-stream": { schema: {} } },
        },
      },
    },
    async ({ body }, reply) => {
      if (!Buffer.isBuffer(body)) {
        const batch = Float32Array.from(body.rows.flat());
        normalize(batch);
        return {
          rows: body.rows.map((_, row) => Array.from(batch.subarray(row * features, (row + 1) * features))),
        };
      }
      if (body.length % (4 * features)) {
        return reply.code(400).send({
          statusCode: 400,
          error: "Bad Request",
          message: `body must hold whole rows of ${features} float32 (${4 * features} bytes), got ${body.length} bytes`,
        });
      }
      const batch = new Float32Array(new Uint8Array(body).buffer);
      const odd = batch.findIndex((value) => !Number.isFinite(value));
      if (odd >= 0) {
        return reply.code(400).send({
          statusCode: 400,
          error: "Bad Request",
          message: `body must hold finite numbers, got ${batch[odd]} in row ${Math.floor(odd / features)}`,
        });
      }
      normalize(batch);
      return reply.type("application/octet-stream").send(Buffer.from(batch.buffer));
    },
  );

  service.get("/health", async () => ({
    features,
    ...runtimeInfo(),
    residentBytes: process.memoryUsage.rss(),
  }));

  service.addHook("onClose", async () => layer.dispose());
  return service;
}
