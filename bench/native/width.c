/*
 * What the width of vectors alone costs: batch norm's two passes that write and the sums of its backward, channels last, and all of
 * layer norm's backward, in C with vectors of 16 bytes, which WebAssembly has, of 32 and of 64, beside memcpy. No checks, no
 * exactness: what a compiler makes of the plain loops.
 *
 *   gcc -O2 -march=native width.c -o width && ./width 6272 1024
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
  long rows, columns;
  float *x, *dy, *y;
  /* mu, then a and b of y = (x - mu) * a + b, or p, q and r of dx = p * dy + (q * (x - mu) + r) */
  float *mu, *p, *q, *r;
} Matrix;

/* What layer norm's backward needs of a row, which does not matter here. */
static const float MU = 0.5f, RSTD = 2, SHIFT = 0.25f;

#define PASSES(BYTES)                                                                                        \
  typedef float V##BYTES __attribute__((vector_size(BYTES), may_alias));                                     \
  static void evaluation##BYTES(const Matrix *m) {                                                           \
    const V##BYTES *x = (V##BYTES *)m->x, *mu = (V##BYTES *)m->mu, *a = (V##BYTES *)m->p, *b = (V##BYTES *)m->q; \
    V##BYTES *y = (V##BYTES *)m->y;                                                                          \
    const long n = m->columns * 4 / BYTES;                                                                   \
    for (long row = 0; row < m->rows; row++, x += n, y += n)                                                 \
      for (long c = 0; c < n; c++) y[c] = (x[c] - mu[c]) * a[c] + b[c];                                      \
  }                                                                                                          \
  static void gradient##BYTES(const Matrix *m) {                                                             \
    const V##BYTES *x = (V##BYTES *)m->x, *dy = (V##BYTES *)m->dy, *mu = (V##BYTES *)m->mu;                  \
    const V##BYTES *p = (V##BYTES *)m->p, *q = (V##BYTES *)m->q, *r = (V##BYTES *)m->r;                      \
    V##BYTES *dx = (V##BYTES *)m->y;                                                                         \
    const long n = m->columns * 4 / BYTES;                                                                   \
    for (long row = 0; row < m->rows; row++, x += n, dy += n, dx += n)                                       \
      for (long c = 0; c < n; c++) dx[c] = p[c] * dy[c] + (q[c] * (x[c] - mu[c]) + r[c]);                    \
  }                                                                                                          \
  /* Four rows, a quarter of all apart, at a time, which are read fastest; the sums stay in float32 at p and q. */ \
  static void sums##BYTES(const Matrix *m) {                                                                 \
    const V##BYTES *x = (V##BYTES *)m->x, *dy = (V##BYTES *)m->dy, *mu = (V##BYTES *)m->mu;                  \
    V##BYTES *s = (V##BYTES *)m->p, *t = (V##BYTES *)m->q;                                                   \
    const long n = m->columns * 4 / BYTES, apart = m->rows / 4 * n;                                          \
    for (long row = 0; row < m->rows / 4; row++, x += n, dy += n)                                            \
      for (long c = 0; c < n; c++) {                                                                         \
        const V##BYTES *at = x + c, *g = dy + c;                                                             \
        s[c] += (g[0] + g[apart]) + (g[2 * apart] + g[3 * apart]);                                           \
        t[c] += (g[0] * (at[0] - mu[c]) + g[apart] * (at[apart] - mu[c])) +                                  \
                (g[2 * apart] * (at[2 * apart] - mu[c]) + g[3 * apart] * (at[3 * apart] - mu[c]));           \
      }                                                                                                      \
  }                                                                                                          \
  /* gamma at p; the sums of dgamma and dbeta stay in float32 at q and r. */                                 \
  static void layer##BYTES(const Matrix *m) {                                                                \
    const V##BYTES *x = (V##BYTES *)m->x, *dy = (V##BYTES *)m->dy, *gamma = (V##BYTES *)m->p;                \
    V##BYTES *dgamma = (V##BYTES *)m->q, *dbeta = (V##BYTES *)m->r, *dx = (V##BYTES *)m->y;                  \
    const long n = m->columns * 4 / BYTES;                                                                   \
    for (long row = 0; row < m->rows; row++, x += n, dy += n, dx += n) {                                     \
      V##BYTES s[2] = {{0}}, t[2] = {{0}};                                                                   \
      for (long c = 0; c < n; c += 2)                                                                        \
        for (int i = 0; i < 2; i++) {                                                                        \
          const V##BYTES g = dy[c + i], xhat = (x[c + i] - MU) * RSTD + SHIFT, w = g * gamma[c + i];         \
          dbeta[c + i] += g;                                                                                 \
          dgamma[c + i] += g * xhat;                                                                         \
          s[i] += w;                                                                                         \
          t[i] += w * xhat;                                                                                  \
        }                                                                                                    \
      float level = 0, q = 0;                                                                                \
      for (int i = 0; i < BYTES / 4; i++) level += s[0][i] + s[1][i], q += t[0][i] + t[1][i];                \
      for (long c = 0; c < n; c++) dx[c] = RSTD * (dy[c] * gamma[c]) + (q * (x[c] - MU) + level);            \
    }                                                                                                        \
  }

PASSES(16)
PASSES(32)
PASSES(64)

/* Evaluation with the mean folded into the shift, as others do it: a coefficient less to read, and |mu| / sigma units less exact. */
static void folded16(const Matrix *m) {
  const V16 *x = (V16 *)m->x, *a = (V16 *)m->p, *b = (V16 *)m->q;
  V16 *y = (V16 *)m->y;
  const long n = m->columns / 4;
  for (long row = 0; row < m->rows; row++, x += n, y += n)
    for (long c = 0; c < n; c++) y[c] = x[c] * a[c] + b[c];
}

static void copy(const Matrix *m) { memcpy(m->y, m->x, m->rows * m->columns * sizeof(float)); }

static const struct {
  const char *name;
  void (*run)(const Matrix *);
} PARTS[] = {
    {"memcpy", copy},
    {"evaluation, 16 bytes", evaluation16},
    {"folded, 16 bytes", folded16},
    {"evaluation, 32 bytes", evaluation32},
    {"evaluation, 64 bytes", evaluation64},
    {"dx, 16 bytes", gradient16},
    {"dx, 32 bytes", gradient32},
    {"dx, 64 bytes", gradient64},
    {"sums, 16 bytes", sums16},
    {"sums, 32 bytes", sums32},
    {"sums, 64 bytes", sums64},
    {"layer norm, 16 bytes", layer16},
    {"layer norm, 32 bytes", layer32},
    {"layer norm, 64 bytes", layer64},
};
enum { COUNT = sizeof PARTS / sizeof *PARTS, ROUNDS = 41 };

static float *filled(long n, float value) {
  float *at = aligned_alloc(64, (n * sizeof(float) + 63) / 64 * 64);
  if (!at) exit(1);
  for (long i = 0; i < n; i++) at[i] = value;
  return at;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static int ascending(const void *a, const void *b) {
  const double d = *(const double *)a - *(const double *)b;
  return (d > 0) - (d < 0);
}

int main(int argc, char **argv) {
  const long rows = argc > 1 ? atol(argv[1]) : 6272, columns = argc > 2 ? atol(argv[2]) : 1024;
  if (rows < 1 || columns < 32 || columns % 32) return fprintf(stderr, "width: expected rows and a multiple of 32 columns\n"), 1;
  const long n = rows * columns;
  const Matrix m = {rows, columns, filled(n, 1), filled(n, 1), filled(n, 0),
                    filled(columns, 1), filled(columns, 1), filled(columns, 1), filled(columns, 1)};
  static double us[COUNT][ROUNDS];
  /* In turns, as in the suite; the first round warms up. */
  for (int round = -1; round < ROUNDS; round++)
    for (int i = 0; i < COUNT; i++) {
      const double start = now();
      PARTS[i].run(&m);
      if (round >= 0) us[i][round] = now() - start;
    }
  for (int i = 0; i < COUNT; i++) qsort(us[i], ROUNDS, sizeof(double), ascending);
  for (int i = 0; i < COUNT; i++)
    printf("%-22s %9.1f us  %.2f copies\n", PARTS[i].name, us[i][ROUNDS / 2], us[i][ROUNDS / 2] / us[0][ROUNDS / 2]);
  return 0;
}
