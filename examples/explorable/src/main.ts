import "./one-unit.ts";
import "./training.ts";
import "./gradient.ts";
import "./timing.ts";
import "./theme.ts";
