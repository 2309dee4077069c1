// From a binary to kernels that run in a memory: at once, or asynchronously where the engine wants that.
import { instantiate, instantiateSync } from "@assemblyscript/loader";
import { rangeError, typeError } from "../errors.js";
import { binary } from "./embedded.js";
import { ABI, type Kernels } from "./kernels.js";
import { type Code, isBytes, isModule, isValid, type Variant, WHO } from "./variant.js";

const NAMES = { simd: "SIMD", "relaxed-simd": "relaxed SIMD" };

/** The best of the package's own binaries that this engine validates. */
export const fastest = (): Variant => (isValid(binary("relaxed-simd")) ? "relaxed-simd" : "simd");

/** One of the package's own binaries. @throws Error if this engine cannot run it */
export function own(variant: Variant): Code {
  const code = binary(variant);
  if (isValid(code)) return code;
  throw new Error(`${WHO}: expected an engine with WebAssembly ${NAMES[variant]}, got one without`);
}

/** A binary that init was given, once it was fetched. @throws TypeError, RangeError if it is none */
export function given(code: unknown): Code {
  if (isValid(code)) return code;
  if (isBytes(code)) throw rangeError("init", "wasm to be a valid binary", code);
  throw typeError("init", "wasm to be a WebAssembly.Module, its bytes, a Response or a URL", code);
}

/**
 * What an engine that refused to compile wants: Chromium up to 114 throws a RangeError on a page's main thread, whatever
 * heeds a Content-Security-Policy a CompileError.
 */
function refused(cause: unknown, waited: boolean): Error {
  const remedy =
    !waited && cause instanceof RangeError
      ? "compiling WebAssembly at once is refused here, as Chromium up to 114 does on a page's main thread: `await init()` first"
      : "compiling WebAssembly is forbidden here: allow 'wasm-unsafe-eval' in the Content-Security-Policy, or give init a WebAssembly.Module";
  return new Error(`${WHO}: ${remedy}`, { cause });
}

const unfit = (got: string, cause?: unknown) =>
  new RangeError(`${WHO}: expected a binary of interface ${ABI}, got ${got}`, { cause });

/** The instance's own exports: the loader's wrappers cost a closure and a rest array on each call. */
function kernelsOf({ exports }: WebAssembly.Instance): Kernels {
  const kernels = exports as unknown as Kernels;
  if (kernels.ABI?.value !== ABI) throw unfit(`${kernels.ABI?.value ?? "another module"}`);
  return kernels;
}

/** Which of the two binaries these kernels are. */
export const variantOf = (kernels: Kernels): Variant => (kernels.RELAXED.value ? "relaxed-simd" : "simd");

/** Kernels that run in `memory`, at once. @throws Error if the engine refuses, RangeError for another binary */
export function kernelsIn(memory: WebAssembly.Memory, code: Code): Kernels {
  let module = code;
  try {
    if (!isModule(module)) module = new WebAssembly.Module(module);
  } catch (cause) {
    throw refused(cause, false);
  }
  let instance: WebAssembly.Instance;
  try {
    ({ instance } = instantiateSync(module, { env: { memory } }));
  } catch (cause) {
    // A LinkError is about the module; a RangeError about the thread.
    throw cause instanceof RangeError
      ? refused(cause, false)
      : unfit("a module that does not instantiate", cause);
  }
  return kernelsOf(instance);
}

/** The same, asynchronously. */
export async function kernelsLater(memory: WebAssembly.Memory, code: Code): Promise<Kernels> {
  let module = code;
  try {
    if (!isModule(module)) module = await WebAssembly.compile(module);
  } catch (cause) {
    throw refused(cause, true);
  }
  let instance: WebAssembly.Instance;
  try {
    ({ instance } = await instantiate(module, { env: { memory } }));
  } catch (cause) {
    throw unfit("a module that does not instantiate", cause);
  }
  return kernelsOf(instance);
}
