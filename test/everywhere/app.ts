import { cp, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HERE, ROOT, sh } from "./shell.js";

const folders: string[] = [];

/** A new folder outside the project, so that nothing resolves but what is installed into it. */
export async function emptyFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "wasm-norm-"));
  folders.push(folder);
  return folder;
}

export const removeFolders = () =>
  Promise.all(folders.map((folder) => rm(folder, { recursive: true, force: true })));

let tarball: Promise<string> | undefined;

/** The package as `npm publish` would send it. */
export function packed(): Promise<string> {
  tarball ??= (async () => {
    const folder = await emptyFolder();
    await sh("npm", ["pack", "--silent", "--pack-destination", folder], ROOT);
    return join(folder, (await readdir(folder))[0]!);
  })();
  return tarball;
}

/** An empty folder with the tarball installed and the programs beside it, as `files` change or add to them. */
export async function app(files: Record<string, string> = {}): Promise<string> {
  const folder = await emptyFolder();
  await writeFile(
    join(folder, "package.json"),
    JSON.stringify({ name: "app", private: true, type: "module" }),
  );
  await sh("npm", ["install", "--silent", "--no-audit", "--no-fund", "--offline", await packed()], folder);
  await cp(join(HERE, "programs"), folder, { recursive: true });
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  return folder;
}
