// The reader's own checkpoint: files from the picker or dropped, read here and sent nowhere.
import { checkpointLayers, type NormLayer, openTfjsModel } from "wasm-norm/analysis";
import { openSafetensors } from "wasm-norm/safetensors";

/** The layers with running statistics in these files. @throws Error where there are none, and what the readers throw */
export async function layersOf(files: readonly File[]): Promise<NormLayer[]> {
  const layers = (await checkpointLayers(await open(files))).filter(({ mean }) => mean);
  if (layers.length === 0) throw new Error("No batch norm with running statistics in this file.");
  return layers;
}

async function open(files: readonly File[]) {
  const named = (name: string) => {
    const found = files.find((file) => file.name === name);
    if (!found) throw new Error(`${name} is missing: choose it together with the others.`);
    return found;
  };
  const json = files.find(({ name }) => name.endsWith(".json"));
  if (json) {
    const parsed = JSON.parse(await json.text());
    if (!("weight_map" in parsed)) {
      return openTfjsModel(parsed, async (path) => new Uint8Array(await named(path).arrayBuffer()));
    }
    return adapt(await openSafetensors(parsed, { open: named }));
  }
  return adapt(await openSafetensors(files[0]!));
}

const adapt = (file: Awaited<ReturnType<typeof openSafetensors>>) => ({
  names: file.names,
  shape: (name: string) => file.shape(name),
  load: (name: string) => file.load(name, { dtype: "float32" }),
});
