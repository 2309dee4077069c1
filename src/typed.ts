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
