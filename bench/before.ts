/** The package as it was at another commit, built beside this one: what `--before` measures in the same turns. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../", import.meta.url));

/**
 * The folder with the package built, and the commit's short name; built where it is not there yet, which takes a minute.
 *
 * @throws what git and npm print, where the commit is not known or does not build
 */
export function builtAt(commit: string): { name: string; folder: string } {
  const run = (file: string, args: string[], cwd = root) =>
    execFileSync(file, args, {
      cwd,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
      maxBuffer: 2 ** 28,
    });
  const name = run("git", ["rev-parse", "--short", "--verify", `${commit}^{commit}`]).trim();
  const folder = join(root, "bench/build", name);
  if (!existsSync(folder)) {
    const unfinished = `${folder}.part`;
    rmSync(unfinished, { recursive: true, force: true });
    mkdirSync(unfinished, { recursive: true });
    const archive = `${unfinished}.tar`;
    run("git", ["archive", "--output", archive, name]);
    run("tar", ["-xf", archive, "-C", unfinished]);
    rmSync(archive);
    // Version 0.1's lock file lacks packages that today's npm asks for, so that `npm ci` refuses it.
    run("npm", ["install", "--no-audit", "--no-fund"], unfinished);
    run("npm", ["run", "build"], unfinished);
    renameSync(unfinished, folder);
  }
  return { name, folder };
}
