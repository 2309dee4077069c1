import "./theme.ts";
import "./one-unit.ts";

const parts = {
  training: () => import("./training.ts"),
  gradient: () => import("./gradient.ts"),
  real: () => import("./real.ts"),
  lab: () => import("./lab.ts"),
  timing: () => import("./timing.ts"),
};

// The first picture is drawn first, then that of the part that the address asks for; the other parts compute after it.
requestAnimationFrame(() => {
  setTimeout(async () => {
    const asked = location.hash.slice(1);
    if (Object.hasOwn(parts, asked)) {
      await parts[asked as keyof typeof parts]();
      await new Promise(requestAnimationFrame);
    }
    for (const load of Object.values(parts)) void load();
  });
});
