// How to make a Float32Array of what is close to one: the end of a sentence that refuses it.

type View = ArrayBufferView & { length?: number; BYTES_PER_ELEMENT?: number };

const isView = (value: unknown): value is View => ArrayBuffer.isView(value);

const kindOf = (view: ArrayBufferView): string =>
  String((view as { [Symbol.toStringTag]?: unknown })[Symbol.toStringTag]);

/** Whether the values of an array of `shape` lie in order, one after the other, from the first on. */
function liesInOrder(shape: ArrayLike<number>, strides: ArrayLike<number>, offset: unknown): boolean {
  let step = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== step) return false;
    step *= shape[axis]!;
  }
  return !offset;
}

function ofView(name: string, view: View): string {
  if (kindOf(view) === "Uint16Array")
    return `: bits of float16 or bfloat16 go into tensor(shape, ${name}, { dtype }); Float32Array.from(${name}) converts integers`;
  if (kindOf(view).startsWith("Big")) return `: Float32Array.from(${name}, Number) converts it`;
  // Node's Buffer, and bytes in general, are more often a file's bytes than numbers.
  const bytes = `new Float32Array(${name}.buffer, ${name}.byteOffset, ${name}.byteLength / 4)`;
  if (typeof view.length !== "number") return `: ${bytes} reads it`;
  const convert = `: Float32Array.from(${name}) converts it`;
  return view.BYTES_PER_ELEMENT === 1
    ? `${convert}; where it holds the bytes of float32 values, ${bytes}`
    : convert;
}

interface Foreign {
  data?: unknown;
  shape?: unknown;
  dims?: unknown;
  stride?: unknown;
  strides?: unknown;
  offset?: unknown;
  dataSync?: unknown;
}

function ofTensor(name: string, value: Foreign): string {
  const extents = ["shape", "dims"].find((key) => Array.isArray(value[key as "shape" | "dims"]));
  const shape = extents === undefined ? "" : ` with { shape: ${name}.${extents} }`;
  if (typeof value.dataSync === "function") return `: pass ${name}.dataSync()${shape}`;
  const { data } = value;
  if (!extents || !(isView(data) || Array.isArray(data))) return "";
  const strides = value.stride ?? value.strides;
  const strided =
    Array.isArray(strides) && !liesInOrder(value[extents as "shape"] as number[], strides, value.offset);
  if (strided) {
    return `: its ${name}.data does not lie in the order of its shape (a transpose or a slice), so copy it into a new array of that shape first, and pass that one's data${shape}`;
  }
  const flat =
    isView(data) && kindOf(data) === "Float32Array" ? `${name}.data` : `Float32Array.from(${name}.data)`;
  return `: pass ${flat}${shape}`;
}

function conversion(name: string, value: object): string {
  if (isView(value)) return ofView(name, value);
  if (value instanceof Float32Array)
    return `: it is a Proxy or a likeness of one, so pass the array itself (Vue: toRaw(${name}))`;
  if (value instanceof ArrayBuffer) return `: new Float32Array(${name}) reads it`;
  if (!Array.isArray(value)) return ofTensor(name, value);
  const [first] = value as unknown[];
  if (typeof first === "number") return `: Float32Array.from(${name}) converts it`;
  if (Array.isArray(first))
    return `: Float32Array.from(${name}.flat(Infinity)) converts it, or tensor(shape, ${name})`;
  return first !== null && isView(first) ? `: tensor(shape, ${name}) takes it` : "";
}

/** How to convert `value`, which errors call `name`; empty where nothing is known. Never throws. */
export function conversionOf(name: string, value: unknown, isTensor = false): string {
  if (isTensor) return `: pass ${name}.data`;
  if (typeof value !== "object" || value === null) return "";
  try {
    return conversion(name, value);
  } catch {
    return "";
  }
}
