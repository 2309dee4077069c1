/** Each lock file lists all that npm ci looks for, the optional packages of other platforms included. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";

const FOLDERS = [
  ".",
  "bench",
  "examples/explorable",
  "examples/node-service",
  "examples/tfjs",
  "test/everywhere",
  "test/tfjs",
];

interface Package {
  link?: boolean;
  resolved?: string;
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
}

const read = (path: string) => JSON.parse(readFileSync(new URL(`../${path}`, import.meta.url), "utf8"));

/** Whether Node would find `name` from the package at `from`. */
function isListed(packages: Record<string, Package>, from: string, name: string): boolean {
  for (let at = from; ; at = at.slice(0, Math.max(0, at.lastIndexOf("node_modules/") - 1))) {
    if (`${at && `${at}/`}node_modules/${name}` in packages) return true;
    if (!at) return false;
  }
}

describe.each(FOLDERS)("%s/package-lock.json", (folder) => {
  const { packages } = read(`${folder}/package-lock.json`) as { packages: Record<string, Package> };
  const inside = Object.entries(packages).filter(([at]) => !at.startsWith(".."));

  test("lists every dependency of every package", () => {
    const missing = inside.flatMap(([at, { dependencies, devDependencies, optionalDependencies }]) =>
      Object.keys({ ...dependencies, ...(at ? {} : devDependencies), ...optionalDependencies })
        .filter((name) => !isListed(packages, at, name))
        .map((name) => `${name} of ${at || "the root"}`),
    );
    expect(missing).toEqual([]);
  });

  test("is of the package.json beside it", () => {
    const manifest = read(`${folder}/package.json`);
    for (const field of ["dependencies", "devDependencies", "optionalDependencies"] as const) {
      expect(packages[""]![field] ?? {}).toEqual(manifest[field] ?? {});
    }
  });

  test("names no registry", () => {
    expect(inside.filter(([, { resolved, link }]) => resolved && !link)).toEqual([]);
  });
});
