const worker = new Worker(`page.js${location.search}`, { type: "module" });
globalThis.result = new Promise((resolve, reject) => {
  worker.onmessage = ({ data: { proof, message } }) => (proof ? resolve(proof) : reject(new Error(message)));
  worker.onerror = ({ message }) => reject(new Error(message ?? "the worker did not start"));
});
