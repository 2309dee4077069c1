/**
 * Where kernels find a backend's tensors: in tfjs-backend-wasm's own memory, where they lie, or copied to the package's
 * memory and back.
 */
import { sizeOf } from "../../arrays.js";
import { Borrowed } from "../../runtime/borrowed.js";
import { fastest, kernelsIn, kernelsLater, own } from "../../runtime/compile.js";
import { Runtime, STAGGER } from "../../runtime/instance.js";
import type { Kernels } from "../../runtime/kernels.js";
import { runtime } from "../../runtime/runtime.js";
import { sharing } from "../../runtime/shared.js";
import { type Code, isBytes } from "../../runtime/variant.js";
import type { Backend, TensorInfo } from "./types.js";

/** A tensor that a kernel makes. */
export interface Output {
  readonly address: number;
  readonly info: TensorInfo;
}

/** The workspace of the runtime that these calls use: 0 and 1 are the engine's. */
const SLOT = 2;
const align = (bytes: number): number => (bytes + 63) & ~63;

/** A place for the length of one call. Inputs and outputs are named first; addresses are valid after `settle`. */
export interface Place {
  readonly held: Runtime;
  /** Room for `bytes`. */
  room(bytes: number): () => number;
  /** An input, where it lies or copied. */
  input(tensor: TensorInfo): () => number;
  /** A new tensor, of 32-bit values. */
  output(shape: number[], dtype?: string): () => number;
  /** Takes all the room that was asked for. @throws RangeError if memory cannot hold it */
  settle(): void;
  /** The outputs, in the order in which they were asked for. */
  done(): TensorInfo[];
  /** Gives up the outputs of a call that failed. */
  drop(): void;
}

/** What both have: one block of the runtime's workspace, cut in order. */
class Block {
  readonly held: Runtime;
  #bytes = 0;
  #at = 0;

  constructor(held: Runtime) {
    this.held = held;
  }

  room(bytes: number): () => number {
    const from = this.#bytes;
    this.#bytes += align(bytes >= 4096 ? bytes + STAGGER : bytes);
    return () => this.#at + from;
  }

  settle(): void {
    this.#at = this.held.workspace(this.#bytes, SLOT);
  }
}

/** A new tensor of the wasm backend, which does not look at what malloc gave it. @throws RangeError */
function newTensor(backend: Backend, shape: number[], dtype: string): TensorInfo {
  const info = backend.makeOutput!(shape, dtype);
  if (backend.dataIdMap!.get(info.dataId).memoryOffset || !sizeOf(shape)) return info;
  backend.disposeData(info.dataId);
  throw new RangeError(`tfjs: expected room for a tensor of shape [${shape}], got none`);
}

/** tfjs-backend-wasm: tensors lie in the memory that the kernels run in. */
class WasmPlace extends Block implements Place {
  readonly #backend: Backend;
  readonly #outputs: TensorInfo[] = [];

  constructor(backend: Backend, held: Runtime) {
    super(held);
    this.#backend = backend;
  }

  input({ dataId }: TensorInfo): () => number {
    const address = this.#backend.dataIdMap!.get(dataId).memoryOffset;
    return () => address;
  }

  output(shape: number[], dtype = "float32"): () => number {
    const info = newTensor(this.#backend, shape, dtype);
    this.#outputs.push(info);
    return this.input(info);
  }

  done(): TensorInfo[] {
    return this.#outputs;
  }

  drop(): void {
    for (const { dataId } of this.#outputs) this.#backend.disposeData(dataId);
  }
}

type Values = Float32Array | Int32Array;

/** How tensors of a backend are read and made as arrays. */
interface Arrays {
  read(tensor: TensorInfo): Values;
  make(shape: number[], dtype: string, values: Values): TensorInfo;
  dispose(tensor: TensorInfo): void;
}

/** Any backend whose tensors are arrays: they are copied to the package's memory and back. */
class ArrayPlace extends Block implements Place {
  readonly #arrays: Arrays;
  readonly #inputs: { at: () => number; tensor: TensorInfo }[] = [];
  readonly #outputs: { at: () => number; shape: number[]; dtype: string }[] = [];
  readonly #made: TensorInfo[] = [];

  constructor(arrays: Arrays) {
    super(runtime());
    this.#arrays = arrays;
  }

  input(tensor: TensorInfo): () => number {
    const at = this.room(4 * sizeOf(tensor.shape));
    this.#inputs.push({ at, tensor });
    return at;
  }

  output(shape: number[], dtype = "float32"): () => number {
    const at = this.room(4 * sizeOf(shape));
    this.#outputs.push({ at, shape, dtype });
    return at;
  }

  override settle(): void {
    super.settle();
    const { f32, u32 } = this.held;
    for (const { at, tensor } of this.#inputs) {
      const values = this.#arrays.read(tensor);
      // Statistics are bits, which no number may pass through.
      if (values instanceof Float32Array) f32.set(values, at() / 4);
      else u32.set(values, at() / 4);
    }
  }

  done(): TensorInfo[] {
    // The package's own memory is not shared.
    const buffer = this.held.f32.buffer as ArrayBuffer;
    for (const { at, shape, dtype } of this.#outputs) {
      const View = dtype === "float32" ? Float32Array : Int32Array;
      this.#made.push(this.#arrays.make(shape, dtype, new View(buffer, at(), sizeOf(shape)).slice()));
    }
    return this.#made;
  }

  drop(): void {
    for (const tensor of this.#made) this.#arrays.dispose(tensor);
  }
}

/** Runtimes in the memory of backends that lend it. They outlive an uninstall, so that the next install compiles nothing. */
const borrowed = new WeakMap<Backend, Runtime>();
/** Those that may have room. */
const active = new Set<Runtime>();

const memoryOf = ({ wasm }: Backend): WebAssembly.Memory | undefined => wasm?.asm?.memory ?? wasm?.wasmMemory;

/**
 * The kernels for a backend's memory, which its threaded build shares; undefined where it is out of reach, or shared while
 * the engine takes only what was compiled before.
 */
function codeFor(memory: WebAssembly.Memory | undefined): Code | undefined {
  if (!memory) return undefined;
  const code = own(fastest());
  if (memory.buffer instanceof ArrayBuffer) return code;
  return isBytes(code) ? sharing(code) : undefined;
}

function borrow(backend: Backend, memory: WebAssembly.Memory, kernels: Kernels): Runtime {
  const wasm = backend.wasm!;
  const allocator = new Borrowed({
    alloc: (bytes) => wasm._malloc(bytes),
    free: (address) => wasm._free(address),
  });
  const held = new Runtime({ kernels, memory, allocator });
  borrowed.set(backend, held);
  active.add(held);
  return held;
}

/** The runtime in a backend's memory, made at the first call. */
function lentBy(backend: Backend): Runtime | undefined {
  const memory = memoryOf(backend);
  const held = memory && borrowed.get(backend);
  if (held) {
    active.add(held);
    return held;
  }
  const code = codeFor(memory);
  return code && borrow(backend, memory!, kernelsIn(memory!, code));
}

/** Compiles for a backend asynchronously, as some engines want it. */
export async function prepare(backend: Backend): Promise<void> {
  const memory = memoryOf(backend);
  const code = borrowed.has(backend) ? undefined : codeFor(memory);
  if (!code) return;
  const kernels = await kernelsLater(memory!, code);
  if (!borrowed.has(backend)) borrow(backend, memory!, kernels);
}

/** Forgets a backend, which is about to go. */
export function forget(backend: Backend): void {
  const held = borrowed.get(backend);
  if (held) active.delete(held);
  borrowed.delete(backend);
}

/** Gives back the room that backends lent. */
export function release(): void {
  for (const held of active) held.releaseWorkspaces();
  active.clear();
}

const cpu = (backend: Backend): Arrays => ({
  read: ({ dataId }) => backend.data!.get(dataId).values,
  make: (shape, dtype, values) => backend.makeTensorInfo!(shape, dtype, values),
  dispose: ({ dataId }) => backend.disposeData(dataId),
});

/** tfjs-backend-wasm with a memory in which the kernels cannot run. */
const wasm = (backend: Backend): Arrays => {
  const view = ({ dataId, shape, dtype }: TensorInfo): Values => {
    const View = dtype === "float32" ? Float32Array : Int32Array;
    // A view that was made before the memory grew may be too short. The type has no name for either kind.
    const buffer = (memoryOf(backend)?.buffer ?? backend.wasm!.HEAPU8.buffer) as ArrayBuffer;
    return new View(buffer, backend.dataIdMap!.get(dataId).memoryOffset, sizeOf(shape));
  };
  return {
    read: view,
    make(shape, dtype, values) {
      const info = newTensor(backend, shape, dtype);
      view(info).set(values);
      return info;
    },
    dispose: ({ dataId }) => backend.disposeData(dataId),
  };
};

/** The place for one call on a backend's tensors. */
export function placeOn(backend: Backend): Place {
  const held = lentBy(backend);
  if (held) return new WasmPlace(backend, held);
  return new ArrayPlace(backend.wasm ? wasm(backend) : cpu(backend));
}
