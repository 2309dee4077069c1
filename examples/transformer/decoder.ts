import { type Parameter, Tensor } from "wasm-norm";
import { Dense } from "../digits/network.ts";
import type { Random } from "../digits/random.ts";
import { attend, attendBackward, type Shape } from "./attention.ts";
import { Stream } from "./stream.ts";
import { swiglu, swigluBackward } from "./swiglu.ts";

export interface Sizes extends Shape {
  characters: number;
  blocks: number;
  /** Units of each SwiGLU. */
  hidden: number;
}

/** Attention and SwiGLU, each between a norm of the stream and an addition to it. */
class Block {
  readonly qkv: Dense;
  readonly out: Dense;
  readonly up: Dense;
  readonly down: Dense;
  readonly #sizes: Sizes;
  readonly #weights: Float32Array;
  #qkv: Float32Array = new Float32Array(0);
  #up: Float32Array = new Float32Array(0);

  constructor(sizes: Sizes, random: Random) {
    const { batch, context, heads, width, hidden } = sizes;
    this.#sizes = sizes;
    this.#weights = new Float32Array(batch * heads * context * context);
    this.qkv = new Dense(width, 3 * width, random, false);
    this.out = new Dense(width, width, random, false);
    this.up = new Dense(width, 2 * hidden, random, false);
    this.down = new Dense(hidden, width, random, false);
  }

  attention(x: Float32Array): Float32Array {
    const { batch, context, width } = this.#sizes;
    this.#qkv = this.qkv.forward(x);
    const y = new Float32Array(batch * context * width);
    attend(this.#qkv, this.#weights, y, this.#sizes);
    return this.out.forward(y);
  }

  attentionBackward(dy: Float32Array): Float32Array {
    const dqkv = new Float32Array(this.#qkv.length);
    attendBackward(this.#qkv, this.#weights, this.out.backward(dy)!, dqkv, this.#sizes);
    return this.qkv.backward(dqkv)!;
  }

  feedForward(x: Float32Array): Float32Array {
    this.#up = this.up.forward(x);
    const y = new Float32Array(this.#up.length / 2);
    swiglu(this.#up, y, this.#sizes.hidden);
    return this.down.forward(y);
  }

  feedForwardBackward(dy: Float32Array): Float32Array {
    const dup = new Float32Array(this.#up.length);
    swigluBackward(this.#up, this.down.backward(dy)!, dup, this.#sizes.hidden);
    return this.up.backward(dup)!;
  }
}

/**
 * A decoder-only transformer over characters: RMS norms before attention, before SwiGLU and at the end, as in Llama (Touvron et
 * al. 2023). Learned positions are the first thing that is added to the stream.
 */
export class Decoder {
  readonly stream: Stream;
  readonly #sizes: Sizes;
  readonly #characters: Parameter;
  readonly #positions: Parameter;
  readonly #blocks: Block[];
  readonly #head: Dense;
  /** What is added to the stream, and what the norm makes of the sum: the kernels' minibatches, the same ones in every step. */
  readonly #x: Tensor;
  readonly #y: Tensor;
  #inputs: Uint8Array = new Uint8Array(0);

  constructor(sizes: Sizes, random: Random) {
    const { batch, context, width, characters, blocks } = sizes;
    this.#sizes = sizes;
    this.#characters = table(characters * width, random);
    this.#positions = table(context * width, random);
    this.#blocks = Array.from({ length: blocks }, () => new Block(sizes, random));
    this.#head = new Dense(width, characters, random, false);
    this.stream = new Stream(2 * blocks + 1, batch * context, width);
    this.#x = new Tensor([batch * context, width]);
    this.#y = new Tensor([batch * context, width]);
    // As many parts as are added to it leave the stream's size as it was (GPT-2).
    const share = 1 / Math.sqrt(2 * blocks);
    for (const { out, down } of this.#blocks) {
      for (const { data } of [out.weight, down.weight]) data.set(data.map((w) => w * share));
    }
  }

  /** All parameters, always in the same order. */
  parameters(): Parameter[] {
    return [...this.matrices(), ...this.vectors()];
  }

  /** The matrices, which decay. */
  matrices(): Parameter[] {
    const dense = this.#blocks.flatMap(({ qkv, out, up, down }) => [qkv, out, up, down]);
    return [...dense, this.#head].map(({ weight }) => weight);
  }

  /** The tables of characters and positions and the norms' gammas, which do not. */
  vectors(): Parameter[] {
    return [this.#characters, this.#positions, ...this.stream.norms.flatMap((norm) => norm.parameters())];
  }

  /** @returns the logits of the character after each of `inputs`, [batch * context, characters] */
  forward(inputs: Uint8Array): Float32Array {
    const { context, width } = this.#sizes;
    this.#inputs = inputs;
    const first = new Float32Array(inputs.length * width);
    const positions = new Float32Array(inputs.length * width);
    for (let row = 0; row < inputs.length; row++) {
      const character = inputs[row]! * width;
      const position = (row % context) * width;
      first.set(this.#characters.data.subarray(character, character + width), row * width);
      positions.set(this.#positions.data.subarray(position, position + width), row * width);
    }
    this.stream.begin(first);
    let added: Float32Array = positions;
    this.#blocks.forEach((block, i) => {
      added = block.attention(this.#normalized(2 * i, added));
      added = block.feedForward(this.#normalized(2 * i + 1, added));
    });
    return this.#head.forward(this.#normalized(2 * this.#blocks.length, added));
  }

  /** Adds to the gradients of all parameters. */
  backward(dlogits: Float32Array): void {
    this.stream.beginBackward();
    let dx = this.#through(2 * this.#blocks.length, this.#head.backward(dlogits)!);
    for (let i = this.#blocks.length - 1; i >= 0; i--) {
      const block = this.#blocks[i]!;
      dx = this.#through(2 * i + 1, block.feedForwardBackward(dx));
      dx = this.#through(2 * i, block.attentionBackward(dx));
    }
    const { context, width } = this.#sizes;
    this.#inputs.forEach((character, row) => {
      for (let c = 0; c < width; c++) {
        const d = dx[row * width + c]!;
        this.#characters.grad[character * width + c]! += d;
        this.#positions.grad[(row % context) * width + c]! += d;
      }
    });
  }

  dispose(): void {
    for (const each of [this.stream, this.#x, this.#y]) each.dispose();
  }

  #normalized(norm: number, x: Float32Array): Float32Array {
    this.#x.set(x);
    this.stream.add(norm, this.#x, this.#y);
    return this.#y.toArray();
  }

  #through(norm: number, dy: Float32Array): Float32Array {
    this.#y.set(dy);
    return this.stream.backward(norm, this.#y);
  }
}

function table(size: number, random: Random): Parameter {
  return { data: Float32Array.from({ length: size }, () => random() - 0.5), grad: new Float32Array(size) };
}
