// Every link within the site leads somewhere. Links to elsewhere are not followed.
import { fileURLToPath } from "node:url";
import { LinkChecker } from "linkinator";

const site = fileURLToPath(new URL("../../build/site", import.meta.url));
const { links } = await new LinkChecker().check({
  path: ".",
  serverRoot: site,
  recurse: true,
  // The checker's own server has an address of this machine; all else is elsewhere.
  linksToSkip: async (link) => !/^http:\/\/localhost:/.test(link),
});
const broken = links.filter(({ state }) => state === "BROKEN");
for (const { url, parent, status } of broken) console.error(`${status} ${url} on ${parent}`);
const checked = links.filter(({ state }) => state === "OK").length;
console.log(`${checked} links, ${broken.length} broken`);
if (broken.length > 0 || checked === 0) process.exitCode = 1;
