import "./theme.ts";
import "./one-unit.ts";

// The first picture is drawn first; the other parts compute theirs after it.
requestAnimationFrame(() => {
  setTimeout(() => {
    void import("./training.ts");
    void import("./gradient.ts");
    void import("./real.ts");
    void import("./timing.ts");
  });
});
