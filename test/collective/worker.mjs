// A rank in a worker thread, of the package as it is built.
import { parentPort, workerData } from "node:worker_threads";
import { portCollective, SyncBatchNorm } from "../../dist/collective.js";

const { ports, rank, size, deadline } = workerData;
const collective = portCollective(ports, { rank, size, deadline });
const layer = new SyncBatchNorm(2, { collective });
parentPort.on("message", async (x) => {
  try {
    const y = await layer.forward(x);
    const dx = await layer.backward(x);
    parentPort.postMessage({ y, dx, mean: layer.runningMean });
  } catch ({ name, code, ranks }) {
    parentPort.postMessage({ name, code, ranks });
  }
});
