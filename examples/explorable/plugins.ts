import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import katex from "katex";
import type { Plugin } from "vite";

/** Sets `$…$` and `$$…$$` in the page with KaTeX when it is built: the browser gets HTML and MathML, no library. */
export function texInHtml(): Plugin {
  const set = (tex: string, displayMode: boolean) =>
    katex.renderToString(tex, { displayMode, strict: "error" });
  return {
    name: "tex-in-html",
    transformIndexHtml: (html) =>
      html
        .replace(/\$\$([^$]+)\$\$/g, (_, tex: string) => set(tex, true))
        .replace(/\$([^$]+)\$/g, (_, tex: string) => set(tex, false)),
  };
}

/** `import text from "./file?gzip"`: the file, compressed, in base64. */
export function gzipText(): Plugin {
  return {
    name: "gzip-text",
    load(id) {
      const [path, query] = id.split("?");
      if (query !== "gzip") return null;
      return `export default ${JSON.stringify(gzipSync(readFileSync(path!), { level: 9 }).toString("base64"))};`;
    },
  };
}
