// npm start: serves the layer of a state file, state.json beside this one or the one that is named, on PORT.
import { readFileSync } from "node:fs";
import { buildService, loadLayer } from "./service.js";

const file = process.argv[2] ?? new URL("state.json", import.meta.url);
const service = buildService(loadLayer(JSON.parse(readFileSync(file, "utf8"))));

// Answers what has come in, takes nothing more, and lets the process end by itself.
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => service.close());

console.log(
  await service.listen({ port: Number(process.env.PORT ?? 3000), host: process.env.HOST ?? "127.0.0.1" }),
);
