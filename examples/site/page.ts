// Markdown to a page of the site: navigation, highlighted code, links to where the files went.
import { posix } from "node:path";
import hljs from "highlight.js";
import { Marked } from "marked";
import { gfmHeadingId } from "marked-gfm-heading-id";
import { markedHighlight } from "marked-highlight";
import type { Page } from "./pages.ts";

const REPOSITORY = "https://github.com/wasm-norm/wasm-norm";

/** What the navigation links beside the pages: directories that other tools fill. */
const BUILT = [
  { out: "explorable/index.html", title: "The question, as a page" },
  { out: "reference/index.html", title: "Reference" },
];

/** Where a link in `page` leads: another page of the site, a copied picture, or the repository. */
export function target(
  href: string,
  page: Page,
  pages: readonly Page[],
  copied: ReadonlySet<string>,
): string {
  if (/^([a-z]+:|#)/i.test(href)) return href;
  const [path = "", fragment] = href.split("#");
  const hash = fragment === undefined ? "" : `#${fragment}`;
  const here = posix.dirname(page.out);
  const source = posix.join(posix.dirname(page.source), path);
  const other = pages.find((one) => one.source === source || one.source === `${source}/README.md`);
  if (other) return relative(here, other.out) + hash;
  // The pictures of a page lie beside it.
  if (copied.has(source)) return posix.join("pictures", posix.basename(source));
  // The guides link what other tools build by its place in the site.
  if (path.startsWith("../")) {
    const built = path.replace(/^(\.\.\/)+/, "");
    if ([...pages, ...BUILT].some(({ out }) => out === built)) return relative(here, built) + hash;
  }
  return `${REPOSITORY}/blob/main/${source}${hash}`;
}

const relative = (from: string, to: string): string => posix.relative(from, to) || posix.basename(to);

/** The pictures that a markdown file shows, from the repository's root. */
export function pictures(text: string, page: Page): string[] {
  return [...text.matchAll(/!\[[^\]]*\]\(([^)\s]+)\)/g)]
    .map(([, path]) => path!)
    .filter((path) => !/^[a-z]+:/i.test(path))
    .map((path) => posix.join(posix.dirname(page.source), path));
}

/** The whole page. */
export function render(
  text: string,
  page: Page,
  pages: readonly Page[],
  copied: ReadonlySet<string>,
): string {
  const marked = new Marked(
    markedHighlight({
      langPrefix: "hljs language-",
      highlight: (code, language) =>
        hljs.getLanguage(language)
          ? hljs.highlight(code, { language }).value
          : hljs.highlight(code, { language: "plaintext" }).value,
    }),
    gfmHeadingId(),
    {
      walkTokens(token) {
        if (token.type === "link" || token.type === "image")
          token.href = target(token.href, page, pages, copied);
      },
    },
  );
  // What scrolls sideways is reached by the keyboard too; an empty corner of a table is no header.
  const body = (marked.parse(text) as string)
    .replace(/<table>/g, '<div class="scroll" tabindex="0"><table>')
    .replace(/<\/table>/g, "</table></div>")
    .replace(/<pre>/g, '<pre tabindex="0">')
    .replace(/<th( align="\w+")?><\/th>/g, "<td></td>");
  const here = posix.dirname(page.out);
  const link = ({ out, title }: { out: string; title?: string }) =>
    `<li><a href="${relative(here, out)}"${out === page.out ? ' aria-current="page"' : ""}>${title}</a></li>`;
  const title = /^# (.+)$/m.exec(text)?.[1] ?? page.title ?? "wasm-norm";
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'self'; img-src 'self' data:">
<title>${page.out === "index.html" ? title : `${title} · wasm-norm`}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="${relative(here, "style.css")}">
</head>
<body>
<a class="skip" href="#main">Skip to the text</a>
<nav aria-label="Site"><ul>${[...pages.filter((one) => one.title), ...BUILT].map(link).join("")}
<li><a href="${REPOSITORY}">GitHub</a></li></ul></nav>
<main id="main">
${title === text.match(/^# (.+)$/m)?.[1] ? "" : `<h1>${title}</h1>`}
${body}
</main>
</body>
</html>
`;
}
