/**
 * Arrays over memory of their own, as results are: to TypeScript from 5.7 on `Float32Array<ArrayBuffer>` and so on, to older ones,
 * whose arrays have no parameter, plain `Float32Array`.
 */
export type OwnFloat32Array = ReturnType<typeof Float32Array.of>;
export type OwnFloat64Array = ReturnType<typeof Float64Array.of>;
export type OwnInt32Array = ReturnType<typeof Int32Array.of>;
export type OwnUint32Array = ReturnType<typeof Uint32Array.of>;
export type OwnInt16Array = ReturnType<typeof Int16Array.of>;
export type OwnUint16Array = ReturnType<typeof Uint16Array.of>;
export type OwnInt8Array = ReturnType<typeof Int8Array.of>;
export type OwnUint8Array = ReturnType<typeof Uint8Array.of>;
export type OwnBigInt64Array = ReturnType<typeof BigInt64Array.of>;
export type OwnBigUint64Array = ReturnType<typeof BigUint64Array.of>;
