import { type PlotOptions, plot } from "@observablehq/plot";

/** Colours by meaning; style.css gives each its light and its dark value. */
export const COLOUR = {
  ink: "var(--ink)",
  quiet: "var(--quiet)",
  rule: "var(--rule)",
  paper: "var(--paper)",
  first: "var(--blue)",
  second: "var(--orange)",
  mean: "var(--orange)",
  xhat: "var(--violet)",
  rest: "var(--blue)",
} as const;

const MARGINS = { marginTop: 10, marginRight: 10, marginBottom: 36, marginLeft: 50 };

/** Smaller screens get smaller figures, not smaller print. */
export const isNarrow = (width: number): boolean => width < 480;

/**
 * A chart that fills its element's width and is drawn anew when that changes. `options` gives it for a width,
 * `describe` its text for a screen reader. Returns what asks for a new drawing: any number of calls, one drawing
 * in the next frame.
 */
export function chart(
  host: HTMLElement,
  options: (width: number) => PlotOptions,
  describe: () => string,
): () => void {
  host.setAttribute("role", "img");
  let asked = 0;
  let drawnWidth = 0;
  const draw = () => {
    asked = 0;
    drawnWidth = host.clientWidth;
    if (drawnWidth === 0) return;
    const svg = plot({ ...MARGINS, ...options(drawnWidth), width: drawnWidth, className: "plot" });
    svg.setAttribute("aria-hidden", "true");
    host.replaceChildren(svg);
    host.setAttribute("aria-label", describe());
  };
  const redraw = () => {
    if (asked === 0) asked = requestAnimationFrame(draw);
  };
  new ResizeObserver(() => {
    if (host.clientWidth !== drawnWidth) redraw();
  }).observe(host);
  return redraw;
}
