/**
 * What comes around a normalization, each as a SIMD pass over memory of its own: what the engine's fused calls are held against.
 * The arithmetic is the engine's own, so that nothing but the passes differs. Sizes are multiples of 8.
 */
import { Activation, Gelu, Relu, Silu } from "../../assembly/stages/activations";
import { madd } from "../../assembly/simd/lanes";

// @ts-ignore: decorator
@inline function value<A extends Activation>(y: usize, n: usize): void {
  const act = changetype<A>(0);
  for (const end = y + (n << 2); y < end; y += 32) {
    const a = v128.load(y);
    const b = v128.load(y, 16);
    v128.store(y, act.value(a));
    v128.store(y, act.value(b), 16);
  }
}

// @ts-ignore: decorator
@inline function gradient<A extends Activation>(dy: usize, z: usize, g: usize, n: usize): void {
  const act = changetype<A>(0);
  for (const end = dy + (n << 2); dy < end; dy += 32) {
    const a = act.gradient(v128.load(dy), v128.load(z));
    const b = act.gradient(v128.load(dy, 16), v128.load(z, 16));
    v128.store(g, a);
    v128.store(g, b, 16);
    z += 32;
    g += 32;
  }
}

/** `y = act(y)`. */
export function relu(y: usize, n: usize): void {
  value<Relu>(y, n);
}

export function silu(y: usize, n: usize): void {
  value<Silu>(y, n);
}

export function gelu(y: usize, n: usize): void {
  value<Gelu>(y, n);
}

/** `g = dy * act'(z)`; for ReLU z may be y. */
export function reluGradient(dy: usize, z: usize, g: usize, n: usize): void {
  gradient<Relu>(dy, z, g, n);
}

export function siluGradient(dy: usize, z: usize, g: usize, n: usize): void {
  gradient<Silu>(dy, z, g, n);
}

export function geluGradient(dy: usize, z: usize, g: usize, n: usize): void {
  gradient<Gelu>(dy, z, g, n);
}

/** `to = to + from`. */
export function add(to: usize, from: usize, n: usize): void {
  for (const end = to + (n << 2); to < end; to += 32) {
    const a = f32x4.add(v128.load(to), v128.load(from));
    const b = f32x4.add(v128.load(to, 16), v128.load(from, 16));
    v128.store(to, a);
    v128.store(to, b, 16);
    from += 32;
  }
}

/** `y = y * (1 + scale) + shift`, for each of `positions` rows of one example. */
export function modulate(y: usize, scale: usize, shift: usize, positions: usize, width: usize): void {
  const one = f32x4.splat(1);
  const bytes = width << 2;
  for (let row: usize = 0; row < positions; row++, y += bytes) {
    for (let at: usize = 0; at < bytes; at += 32) {
      const a = madd(v128.load(y + at), f32x4.add(one, v128.load(scale + at)), v128.load(shift + at));
      const b = madd(v128.load(y + at, 16), f32x4.add(one, v128.load(scale + at, 16)), v128.load(shift + at, 16));
      v128.store(y + at, a);
      v128.store(y + at, b, 16);
    }
  }
}

/** `g = dy * (1 + scale)`, `dscale = sum(dy * z)`, `dshift = sum(dy)` over the rows of one example. */
export function demodulate(
  dy: usize,
  z: usize,
  g: usize,
  scale: usize,
  dscale: usize,
  dshift: usize,
  positions: usize,
  width: usize,
): void {
  const one = f32x4.splat(1);
  const bytes = width << 2;
  memory.fill(dscale, 0, bytes);
  memory.fill(dshift, 0, bytes);
  for (let row: usize = 0; row < positions; row++) {
    for (let at: usize = 0; at < bytes; at += 16) {
      const d = v128.load(dy + at);
      v128.store(dscale + at, madd(d, v128.load(z + at), v128.load(dscale + at)));
      v128.store(dshift + at, f32x4.add(d, v128.load(dshift + at)));
      v128.store(g + at, f32x4.mul(d, f32x4.add(one, v128.load(scale + at))));
    }
    dy += bytes;
    z += bytes;
    g += bytes;
  }
}

/** `y = y * silu(gate)`. */
export function gate(y: usize, z: usize, n: usize): void {
  const act = changetype<Silu>(0);
  for (const end = y + (n << 2); y < end; y += 32) {
    const a = f32x4.mul(v128.load(y), act.value(v128.load(z)));
    const b = f32x4.mul(v128.load(y, 16), act.value(v128.load(z, 16)));
    v128.store(y, a);
    v128.store(y, b, 16);
    z += 32;
  }
}

/** `g = dy * silu(gate)`, `dz = dy * a * silu'(gate)`. */
export function gateGradient(dy: usize, a: usize, z: usize, g: usize, dz: usize, n: usize): void {
  const act = changetype<Silu>(0);
  for (const end = dy + (n << 2); dy < end; dy += 16) {
    const d = v128.load(dy);
    const gate = v128.load(z);
    v128.store(dz, act.gradient(f32x4.mul(d, v128.load(a)), gate));
    v128.store(g, f32x4.mul(d, act.value(gate)));
    a += 16;
    z += 16;
    g += 16;
    dz += 16;
  }
}
