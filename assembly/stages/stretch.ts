/**
 * Activations over a stretch of float32, and sums and products of two: whole vectors, two a step, and a tail that is loaded and stored by its
 * lanes, so that nothing beyond is touched.
 */
import { ACTIVATION } from "../pass";
import { loadTail, storeTail } from "../simd/lanes";
import { Activation, Gelu, GeluTanh, HardSwish, LeakyRelu, Relu, Relu6, Sigmoid, Silu, Tanh } from "./activations";

/** `to = to + from`, and the same at `copy` (0: nowhere), for `n` values. */
export function add(to: usize, from: usize, copy: usize, n: usize): void {
  const end = to + (n << 2);
  const second = copy ? copy : to;
  let at: usize = second;
  for (; to + 32 <= end; to += 32) {
    const a = f32x4.add(v128.load(to), v128.load(from));
    const b = f32x4.add(v128.load(to, 16), v128.load(from, 16));
    v128.store(to, a);
    v128.store(to, b, 16);
    v128.store(at, a);
    v128.store(at, b, 16);
    from += 32;
    at += 32;
  }
  for (; to < end; to += 16) {
    const rest = (end - to) >> 2;
    const a = f32x4.add(loadTail(to, rest), loadTail(from, rest));
    storeTail(to, rest, a);
    storeTail(at, rest, a);
    from += 16;
    at += 16;
  }
}

/** `to = a * b` for `n` values; each may lie where another does. */
export function multiply(a: usize, b: usize, to: usize, n: usize): void {
  const end = a + (n << 2);
  for (; a + 32 <= end; a += 32) {
    const u = f32x4.mul(v128.load(a), v128.load(b));
    const v = f32x4.mul(v128.load(a, 16), v128.load(b, 16));
    v128.store(to, u);
    v128.store(to, v, 16);
    b += 32;
    to += 32;
  }
  for (; a < end; a += 16) {
    const rest = (end - a) >> 2;
    storeTail(to, rest, f32x4.mul(loadTail(a, rest), loadTail(b, rest)));
    b += 16;
    to += 16;
  }
}

/** `z = act(z)` for `n` values. */
function activate<A extends Activation>(z: usize, n: usize): void {
  const act = changetype<A>(0);
  const end = z + (n << 2);
  for (; z + 32 <= end; z += 32) {
    const a = v128.load(z);
    const b = v128.load(z, 16);
    v128.store(z, act.value(a));
    v128.store(z, act.value(b), 16);
  }
  for (; z < end; z += 16) {
    const rest = (end - z) >> 2;
    storeTail(z, rest, act.value(loadTail(z, rest)));
  }
}

/** `g = dy * act'(z)` for `n` values. */
function differentiate<A extends Activation>(dy: usize, z: usize, g: usize, n: usize): void {
  const act = changetype<A>(0);
  const end = z + (n << 2);
  for (; z + 32 <= end; z += 32) {
    const a = v128.load(z);
    const b = v128.load(z, 16);
    const c = v128.load(dy);
    const d = v128.load(dy, 16);
    v128.store(g, act.gradient(c, a));
    v128.store(g, act.gradient(d, b), 16);
    dy += 32;
    g += 32;
  }
  for (; z < end; z += 16) {
    const rest = (end - z) >> 2;
    storeTail(g, rest, act.gradient(loadTail(dy, rest), loadTail(z, rest)));
    dy += 16;
    g += 16;
  }
}

/** `z = act(z)`. */
export function applyActivation(kind: u32, z: usize, n: usize): void {
  if (kind == ACTIVATION.RELU) activate<Relu>(z, n);
  else if (kind == ACTIVATION.RELU6) activate<Relu6>(z, n);
  else if (kind == ACTIVATION.LEAKY_RELU) activate<LeakyRelu>(z, n);
  else if (kind == ACTIVATION.SILU) activate<Silu>(z, n);
  else if (kind == ACTIVATION.GELU) activate<Gelu>(z, n);
  else if (kind == ACTIVATION.GELU_TANH) activate<GeluTanh>(z, n);
  else if (kind == ACTIVATION.HARDSWISH) activate<HardSwish>(z, n);
  else if (kind == ACTIVATION.SIGMOID) activate<Sigmoid>(z, n);
  else if (kind == ACTIVATION.TANH) activate<Tanh>(z, n);
}

/** `g = dy * act'(z)`; g may be dy or z. */
export function applyDerivative(kind: u32, dy: usize, z: usize, g: usize, n: usize): void {
  if (kind == ACTIVATION.RELU) differentiate<Relu>(dy, z, g, n);
  else if (kind == ACTIVATION.RELU6) differentiate<Relu6>(dy, z, g, n);
  else if (kind == ACTIVATION.LEAKY_RELU) differentiate<LeakyRelu>(dy, z, g, n);
  else if (kind == ACTIVATION.SILU) differentiate<Silu>(dy, z, g, n);
  else if (kind == ACTIVATION.GELU) differentiate<Gelu>(dy, z, g, n);
  else if (kind == ACTIVATION.GELU_TANH) differentiate<GeluTanh>(dy, z, g, n);
  else if (kind == ACTIVATION.HARDSWISH) differentiate<HardSwish>(dy, z, g, n);
  else if (kind == ACTIVATION.SIGMOID) differentiate<Sigmoid>(dy, z, g, n);
  else if (kind == ACTIVATION.TANH) differentiate<Tanh>(dy, z, g, n);
  else if (g != dy) memory.copy(g, dy, n << 2);
}
