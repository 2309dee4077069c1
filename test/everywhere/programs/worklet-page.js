// Rendering without a sound card; the processor runs the package and answers by a message.
const context = new OfflineAudioContext(1, 44100, 44100);
globalThis.result = (async () => {
  await context.audioWorklet.addModule("worklet.js");
  const mode = new URLSearchParams(location.search).get("mode");
  const node = new AudioWorkletNode(context, "prove", { processorOptions: { mode } });
  const answered = new Promise((resolve) => {
    node.port.onmessage = ({ data }) => resolve(data);
  });
  node.connect(context.destination);
  const { proof, message } = await answered;
  await context.startRendering();
  if (!proof) throw new Error(message);
  return proof;
})();
