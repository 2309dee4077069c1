/** With CHECKED set, puts the checked binaries and what they ask in place of the package's own modules. */
import { fileURLToPath } from "node:url";

const places: Record<string, string> = {
  "./embedded.js": "./embedded.ts",
  "./allocator.js": "./allocator.ts",
  "@assemblyscript/loader": "./loader.ts",
};

export const checkedBuild = {
  name: "checked-build",
  enforce: "pre" as const,
  resolveId(source: string, importer: string | undefined): string | undefined {
    const place = importer?.includes("/src/runtime/") && places[source];
    return place ? fileURLToPath(new URL(place, import.meta.url)) : undefined;
  },
};
