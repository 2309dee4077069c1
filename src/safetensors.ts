export { loadInto, type Names, type Patterns } from "./safetensors/into.js";
export { loadSafetensors } from "./safetensors/load.js";
export { type Layers, loadStateDicts, type Stateful, stateDictOf } from "./safetensors/models.js";
export {
  type OpenOptions,
  openSafetensors,
  type SafetensorsFile,
  type ShardIndex,
} from "./safetensors/open.js";
export { type SavedArray, saveSafetensors } from "./safetensors/save.js";
export type { Fetch, FileHandleLike, SafetensorsSource } from "./safetensors/sources.js";
export type { Float16Values, FloatArray, KeptArray, Precision } from "./safetensors/types.js";
export type { LoadResult, StateDict, StateEntry, StateSource } from "./state.js";
