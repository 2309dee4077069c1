import { parseDigits } from "../../digits/data.ts";
import packed from "../../digits/digits.csv?gzip";

async function unpack(base64: string): Promise<string> {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

/** The handwritten digits of examples/digits. */
export const { training, test } = parseDigits(await unpack(packed));
