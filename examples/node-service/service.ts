import swagger from "@fastify/swagger";
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import { ARROW_TYPE, BodyError, JSON_TYPE, RAW_TYPE, readBody, writeBody } from "./bodies.ts";
import type { Standardizer } from "./standardizer.ts";

const LARGEST_FLOAT32 = 3.4028234663852886e38;
const STATISTICS = ["count", "mean", "variance"];

/** What the service does not go beyond. */
export interface Limits {
  /** Bytes of a body. */
  body: number;
  /** Open connections. */
  connections: number;
  /** Milliseconds within which a whole request has come in. */
  request: number;
  /** Milliseconds that a connection may be silent between requests. */
  keepAlive: number;
  /** Milliseconds after the signal to end, when connections are cut that are still there. */
  grace: number;
}

export const LIMITS: Limits = {
  body: 1 << 20,
  connections: 1000,
  request: 10_000,
  keepAlive: 5000,
  grace: 5000,
};

function metricsOf(standardizer: Standardizer) {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  new Gauge({
    name: "standardizer_rows",
    help: "Rows in the statistics, of all instances",
    registers,
    collect() {
      this.set(standardizer.total.rows);
    },
  });
  const fitted = new Counter({
    name: "standardizer_minibatches_total",
    help: "Minibatches acknowledged",
    registers,
  });
  const commits = new Counter({ name: "standardizer_commits_total", help: "Writes to the store", registers });
  const seconds = new Histogram({
    name: "http_request_duration_seconds",
    help: "From a request's headers to its answer",
    labelNames: ["method", "route", "status"],
    registers,
  });
  standardizer.onCommit = (minibatches) => {
    fitted.inc(minibatches);
    commits.inc();
  };
  return { registry, seconds };
}

/** The service around a standardizer; its OpenAPI document is at /openapi.json. */
export async function buildService(
  standardizer: Standardizer,
  limits: Limits = LIMITS,
): Promise<FastifyInstance> {
  const { features } = standardizer;
  const service = Fastify({
    bodyLimit: limits.body,
    requestTimeout: limits.request,
    keepAliveTimeout: limits.keepAlive,
    forceCloseConnections: "idle",
    // Node looks for requests that take too long every 30 seconds, unless told otherwise.
    http: { headersTimeout: limits.request, connectionsCheckingInterval: Math.min(500, limits.request / 4) },
    ajv: { customOptions: { coerceTypes: false } },
  });
  service.server.maxConnections = limits.connections;
  await service.register(swagger, {
    openapi: {
      openapi: "3.0.3",
      info: { title: "Online standardizer", version: "1.0.0", description: `Rows of ${features} numbers.` },
    },
  });

  service.removeContentTypeParser("text/plain");
  for (const type of [RAW_TYPE, ARROW_TYPE]) {
    service.addContentTypeParser(type, { parseAs: "buffer" }, (_request, body, done) => {
      done(null, body);
    });
  }
  service.setErrorHandler((error: Error & { statusCode?: number; validation?: unknown }, request, reply) => {
    const status = error.statusCode ?? 500;
    if (status >= 500) request.log.error(error);
    reply.code(status).send({ message: status >= 500 ? "Internal Server Error" : error.message });
  });

  const { registry, seconds } = metricsOf(standardizer);
  service.addHook("onResponse", async (request, reply) => {
    const route = request.routeOptions.url ?? "none";
    seconds.observe({ method: request.method, route, status: reply.statusCode }, reply.elapsedTime / 1000);
  });

  const number = { type: "number", minimum: -LARGEST_FLOAT32, maximum: LARGEST_FLOAT32 };
  const row = { type: "array", minItems: features, maxItems: features, items: number };
  const rows = {
    type: "object",
    required: ["rows"],
    additionalProperties: false,
    properties: { rows: { type: "array", items: row } },
  };
  // Without a type, as it is a Buffer here and no string.
  const binary = { schema: { format: "binary" } };
  const content = { [JSON_TYPE]: { schema: rows }, [RAW_TYPE]: binary, [ARROW_TYPE]: binary };
  const failure = { type: "object", properties: { message: { type: "string" } } };
  const failures = Object.fromEntries([400, 413, 415].map((status) => [status, failure]));
  const values = { type: "array", items: { type: "number" } };
  const statistics = {
    type: "object",
    required: STATISTICS,
    properties: { count: { type: "integer" }, mean: values, variance: values },
  };

  // A request without a body has no media type either: it is refused before a handler sees it.
  const wantsBody = async (request: FastifyRequest) => {
    if (request.body === undefined || request.body === null)
      throw new BodyError("a body is expected, with its type");
  };
  const typeOf = (request: FastifyRequest) =>
    request.headers["content-type"]!.split(";")[0]!.trim().toLowerCase();
  const read = (request: FastifyRequest) => readBody(typeOf(request), request.body, features);

  service.post(
    "/partial-fit",
    {
      preValidation: wantsBody,
      schema: {
        summary: "Adds rows to the statistics; the answer comes when they are on the disk",
        headers: {
          type: "object",
          properties: {
            "idempotency-key": {
              type: "string",
              minLength: 1,
              maxLength: 200,
              description: "A request that is sent again with its key is not added again",
            },
          },
        },
        body: { content },
        response: {
          200: { type: "object", properties: { added: { type: "boolean" }, count: { type: "integer" } } },
          ...failures,
        },
      },
    },
    async (request) => {
      const key = request.headers["idempotency-key"];
      const added = await standardizer.partialFit(read(request).x, typeof key === "string" ? key : undefined);
      return { added, count: standardizer.total.rows };
    },
  );

  service.post(
    "/transform",
    {
      preValidation: wantsBody,
      schema: {
        summary:
          "Standardizes rows by the statistics of all that came so far, in the type in which they come",
        body: { content },
        response: { 200: { content }, ...failures, 409: failure, 422: failure },
      },
    },
    async (request, reply: FastifyReply) => {
      const given = read(request);
      if (standardizer.total.rows === 0) throw new BodyError("there are no statistics yet", 409);
      const y = standardizer.transform(given.x);
      const odd = y.findIndex((value) => !Number.isFinite(value));
      if (odd >= 0) {
        const place = `row ${Math.floor(odd / features)}, column ${odd % features}`;
        throw new BodyError(`${place}: the result does not fit float32`, 422);
      }
      const type = typeOf(request);
      return reply.type(type).send(writeBody(type, { ...given, x: y }, features));
    },
  );

  service.get(
    "/statistics",
    {
      schema: {
        summary: "Of all rows so far; the variance is the biased one",
        response: { 200: statistics },
      },
    },
    async () => {
      const { total } = standardizer;
      const variance = total.rows > 0 ? [...total.variance] : [];
      return { count: total.rows, mean: total.rows > 0 ? [...total.mean] : [], variance };
    },
  );

  service.get("/health", { schema: { summary: "Whether the service is up" } }, async () => ({
    features,
    rows: standardizer.total.rows,
    residentBytes: process.memoryUsage.rss(),
  }));
  service.get("/metrics", { schema: { summary: "For Prometheus" } }, async (_request, reply) =>
    reply.type(registry.contentType).send(await registry.metrics()),
  );
  service.get("/openapi.json", { schema: { hide: true } }, async () => service.swagger());

  // Those under way are answered, those between requests end at once; what is left then is cut.
  service.addHook("preClose", async () => {
    setTimeout(() => service.server.closeAllConnections(), limits.grace).unref();
  });
  return service;
}
