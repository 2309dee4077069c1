// Typed arrays of any kind, as they are and not as a subclass says.

const prototype = Object.getPrototypeOf(Float32Array.prototype) as object;
const getter = (key: PropertyKey) =>
  Object.getOwnPropertyDescriptor(prototype, key)!.get! as (this: unknown) => unknown;
const tag = getter(Symbol.toStringTag);
const size = getter("byteLength");
/** What a typed array has by itself; they throw a TypeError for anything else. */
export const lengthGetter = getter("length");
export const bufferGetter = getter("buffer");
export const offsetGetter = getter("byteOffset");

/** The class's name of a typed array of any realm; undefined for anything else, a DataView and a proxy included. */
export const kindOf = (value: unknown): string | undefined => tag.call(value) as string | undefined;

/** A view of its bytes. @throws TypeError if it is detached */
export const bytesOf = (array: ArrayBufferView): Uint8Array =>
  new Uint8Array(
    bufferGetter.call(array) as ArrayBuffer,
    offsetGetter.call(array) as number,
    size.call(array) as number,
  );

const { at: firstOf } = Float32Array.prototype;

/** Whether an array's memory is gone: transferred, resized away from it, or grown under a view of it. */
export function isDetached(array: ArrayBufferView): boolean {
  if ((lengthGetter.call(array) as number) > 0) return false;
  try {
    firstOf.call(array, 0);
    return false;
  } catch {
    return true;
  }
}

/** The same values under the platform's own class, of the length that they have now. @param kind what `kindOf` says */
export function plain<T extends ArrayBufferView>(array: T, kind: string): T {
  const { [kind as "Float32Array"]: Kind } = globalThis;
  const [buffer, offset, length] = [bufferGetter, offsetGetter, lengthGetter].map((get) => get.call(array));
  return new Kind(buffer as ArrayBuffer, offset as number, length as number) as unknown as T;
}
