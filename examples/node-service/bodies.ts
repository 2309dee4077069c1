// Minibatches as they come and go over HTTP: JSON, raw float32, Arrow IPC.
import { makeVector, Table, tableFromIPC, tableToIPC } from "apache-arrow";

export const JSON_TYPE = "application/json";
export const RAW_TYPE = "application/octet-stream";
export const ARROW_TYPE = "application/vnd.apache.arrow.stream";

/** A body that is not what it should be; the message is for the caller. */
export class BodyError extends Error {
  readonly statusCode: number;

  constructor(message: string, statusCode = 400) {
    super(message);
    this.statusCode = statusCode;
  }
}

/** Rows one behind the other, and the columns' names where they have any. */
export interface Rows {
  x: Float32Array;
  names?: string[];
}

function checkFinite({ x, names }: Rows, features: number): Rows {
  const odd = x.findIndex((value) => !Number.isFinite(value));
  if (odd >= 0) {
    throw new BodyError(
      `row ${Math.floor(odd / features)}, column ${odd % features} is not a float32 number`,
    );
  }
  return names ? { x, names } : { x };
}

function readJSON(body: unknown, features: number): Rows {
  const rows = (body as { rows: number[][] }).rows;
  const x = new Float32Array(rows.length * features);
  rows.forEach((row, i) => {
    x.set(row, i * features);
  });
  return { x };
}

function readRaw(body: Buffer, features: number): Rows {
  if (body.length % (4 * features)) {
    throw new BodyError(
      `whole rows of ${features} float32 (${4 * features} bytes) expected, not ${body.length} bytes`,
    );
  }
  return { x: new Float32Array(new Uint8Array(body).buffer) };
}

function readArrow(body: Buffer, features: number): Rows {
  let table: Table;
  try {
    table = tableFromIPC(body);
  } catch {
    throw new BodyError("the body is no Arrow IPC stream");
  }
  if (table.numCols !== features) throw new BodyError(`${features} columns expected, not ${table.numCols}`);
  const x = new Float32Array(table.numRows * features);
  table.schema.fields.forEach((field, column) => {
    const vector = table.getChildAt(column)!;
    if (vector.nullCount > 0) throw new BodyError(`column ${field.name} has nulls`);
    for (let row = 0; row < table.numRows; row++) {
      const value: unknown = vector.get(row);
      if (typeof value !== "number")
        throw new BodyError(`column ${field.name} is not of float or small integers`);
      x[row * features + column] = value;
    }
  });
  return { x, names: table.schema.fields.map(({ name }) => name) };
}

/** Reads a body of one of the three types. @throws BodyError */
export function readBody(type: string, body: unknown, features: number): Rows {
  const rows =
    type === RAW_TYPE
      ? readRaw(body as Buffer, features)
      : type === ARROW_TYPE
        ? readArrow(body as Buffer, features)
        : readJSON(body, features);
  return checkFinite(rows, features);
}

/** The same rows for the caller, in the type in which they came. */
export function writeBody(type: string, { x, names }: Rows, features: number): Buffer | { rows: number[][] } {
  const rows = x.length / features;
  if (type === RAW_TYPE) return Buffer.from(x.buffer, x.byteOffset, x.byteLength);
  if (type === ARROW_TYPE) {
    const columns = names!.map((name, column) => [
      name,
      makeVector(Float32Array.from({ length: rows }, (_, row) => x[row * features + column]!)),
    ]);
    return Buffer.from(tableToIPC(new Table(Object.fromEntries(columns)), "stream"));
  }
  return {
    rows: Array.from({ length: rows }, (_, row) =>
      Array.from(x.subarray(row * features, (row + 1) * features)),
    ),
  };
}
