/**
 * The checked build: both binaries, as they ship, with every load, store, fill and copy asking first. Run by
 * `npm run test:checked`; writes build/checked/*.wasm.
 *
 *   (v128.load offset=16 (ADDRESS))  becomes  (v128.load offset=16 (call $check (ADDRESS) (i32.const 16) (i32.const 16)))
 *
 * where $check hands address + offset and length to the import env.check, which throws where they are nobody's, and
 * returns the address. The text form is rewritten, so nothing but the calls is added; an instruction that touches memory
 * and is not known here stops the build.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import binaryen from "assemblyscript/binaryen";

type Expression = string | Expression[];

function parse(text: string): Expression {
  // strings, comments, parentheses, atoms
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|;;[^\n]*|[()]|[^\s()"]+/g)!;
  const stack: Expression[][] = [[]];
  for (const token of tokens) {
    if (token.startsWith(";;")) continue;
    if (token === "(") stack.push([]);
    else if (token === ")") {
      const done = stack.pop()!;
      stack.at(-1)!.push(done);
    } else stack.at(-1)!.push(token);
  }
  return stack[0]![0]!;
}

function print(expression: Expression, into: string[] = []): string[] {
  if (typeof expression === "string") into.push(expression);
  else {
    into.push("(");
    for (const part of expression) print(part, into);
    into.push(")\n");
  }
  return into;
}

/** Bytes that an instruction reads or writes, by its name; undefined where it leaves memory alone. */
export function bytesOf(name: string): number | undefined {
  if (!/load|store|^memory\.|atomic/.test(name)) return;
  const narrow = /(?:load|store)(\d+)(x\d)?/.exec(name);
  if (/^memory\.(fill|copy)$/.test(name)) return 0;
  if (narrow) return (Number(narrow[1]) / 8) * (narrow[2] ? Number(narrow[2].slice(1)) : 1);
  const whole = /^(i32|f32|i64|f64|v128)\.(load|store)$/.exec(name);
  if (!whole) throw new Error(`${name} touches memory in a way that is not known here`);
  return { i32: 4, f32: 4, i64: 8, f64: 8, v128: 16 }[whole[1]!];
}

const constant = (value: number): Expression => ["i32.const", String(value)];

/** How many instructions were made to ask. */
let asked = 0;

function instrument(expression: Expression): Expression {
  if (typeof expression === "string") return expression;
  const [name, ...rest] = expression.map(instrument) as [string, ...Expression[]];
  const bytes = typeof name === "string" ? bytesOf(name) : undefined;
  if (bytes === undefined) return [name, ...rest];
  asked++;
  if (name === "memory.fill" || name === "memory.copy") {
    return ["call", name === "memory.fill" ? "$checkedFill" : "$checkedCopy", ...rest];
  }
  const offset = rest.find((part) => typeof part === "string" && part.startsWith("offset="));
  const at = rest.findIndex((part) => typeof part !== "string");
  rest[at] = [
    "call",
    "$check",
    rest[at]!,
    constant(Number((offset as string | undefined)?.slice("offset=".length) ?? 0)),
    constant(bytes),
  ];
  return [name, ...rest];
}

const ASK = `(import "env" "check" (func $ask (param i32 i32)))`;
const HELPERS = `
(func $check (param $address i32) (param $offset i32) (param $bytes i32) (result i32)
  (call $ask (i32.add (local.get $address) (local.get $offset)) (local.get $bytes))
  (local.get $address))
(func $checkedFill (param $to i32) (param $value i32) (param $bytes i32)
  (call $ask (local.get $to) (local.get $bytes))
  (memory.fill (local.get $to) (local.get $value) (local.get $bytes)))
(func $checkedCopy (param $to i32) (param $from i32) (param $bytes i32)
  (call $ask (local.get $to) (local.get $bytes))
  (call $ask (local.get $from) (local.get $bytes))
  (memory.copy (local.get $to) (local.get $from) (local.get $bytes)))`;

/** The same module, asking. */
export function checked(binary: Uint8Array): Uint8Array {
  const plain = binaryen.readBinary(binary);
  plain.setFeatures(binaryen.Features.All);
  const [head, ...fields] = parse(plain.emitText()) as Expression[];
  const isImport = (field: Expression) => Array.isArray(field) && field[0] === "import";
  asked = 0;
  const body = fields.map((field) => (isImport(field) || isDeclaration(field) ? field : instrument(field)));
  if (asked === 0) throw new Error("nothing in the binary touches memory");
  // the text form wants all imports before anything else
  const imports = body.filter(isImport).flatMap((field) => print(field));
  const others = body.filter((field) => !isImport(field)).flatMap((field) => print(field));
  const text = ["(", head as string, ...imports, ASK, ...others, HELPERS, ")"].join(" ");
  const module = binaryen.parseText(text);
  module.setFeatures(binaryen.Features.All);
  if (!module.validate()) throw new Error("the checked module does not validate");
  return module.emitBinary();
}

/** Fields whose own names mention memory. */
const isDeclaration = (field: Expression): boolean =>
  Array.isArray(field) &&
  ["memory", "export", "data", "type", "global", "table"].includes(field[0] as string);

if (import.meta.url === `file://${process.argv[1]}`) {
  mkdirSync("build/checked", { recursive: true });
  for (const name of ["simd", "relaxed-simd"]) {
    const binary = checked(new Uint8Array(readFileSync(`build/${name}.wasm`)));
    writeFileSync(`build/checked/${name}.wasm`, binary);
    console.log(`${name}: ${asked} instructions ask, ${binary.length} bytes`);
  }
}
