// The site's pages that are written in markdown: where each comes from and where it goes.
import { readdirSync } from "node:fs";

/** A page: a markdown file of the repository and its address in the site. */
export interface Page {
  /** From the repository's root. */
  source: string;
  /** From the site's root. */
  out: string;
  /** In the navigation; absent for pages that are only linked. */
  title?: string;
}

const TITLES: readonly (readonly [string, string])[] = [
  ["index", "Start"],
  ["first-steps", "First steps"],
  ["tensors", "Tensors"],
  ["from-pytorch-keras-tfjs", "From PyTorch, Keras, tfjs"],
  ["running-statistics", "Running statistics"],
  ["transformers", "Transformers"],
  ["services", "Services"],
  ["threads", "Threads"],
  ["several-machines", "Several machines"],
  ["checkpoints", "Checkpoints"],
  ["conventions", "Conventions"],
  ["where-it-runs", "Where it runs"],
  ["the-question", "The question"],
];

const guides: Page[] = TITLES.map(([name, title]) => ({
  source: `examples/site/guides/${name}.md`,
  out: name === "index" ? "index.html" : `guides/${name}.html`,
  title,
}));

/** Every guide has its place in the navigation. @throws Error for one that has not */
export function pages(): Page[] {
  for (const file of readdirSync(new URL("guides", import.meta.url))) {
    if (!guides.some(({ source }) => source.endsWith(`/${file}`)))
      throw new Error(`${file} has no title in pages.ts`);
  }
  return [
    ...guides,
    { source: "examples/real-networks/README.md", out: "real-networks/index.html", title: "Real networks" },
    { source: "bench/report/readme.md", out: "benchmarks/index.html", title: "Benchmarks" },
    { source: "bench/report/tables.md", out: "benchmarks/tables.html" },
    { source: "bench/README.md", out: "benchmarks/how.html" },
    { source: "bench/DETAILS.md", out: "benchmarks/details.html" },
  ];
}
