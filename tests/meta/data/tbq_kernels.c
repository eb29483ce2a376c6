// The CPU kernels of patch set tbq against its reference code: to_float bit for bit, vec_dot to rounding.
// Built for this machine and, with a cross compiler, for aarch64 (run by qemu-aarch64). Prints "ok".

#include "ggml-impl.h"
#include "ggml-quants.h"
#include "tbq.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define N 4096
#define ROUNDS 50

float ggml_table_f32_f16[1 << 16]; // of ggml-cpu.c: fp16 -> float on x86

static uint32_t state = 1;

static float gaussian(void) {
    float sum = -6.0f;
    for (int i = 0; i < 12; ++i) {
        state = state * 1664525u + 1013904223u;
        sum += (float) (state >> 8) / (1 << 24);
    }
    return sum;
}

typedef struct {
    const char * name;
    size_t block;
    void (*encode)(const float *, void *, int64_t);
    void (*decode)(const void *, float *, int64_t);
    void (*decode_fast)(const void *, float *, int64_t);
    void (*dot)(int, float *, size_t, const void *, size_t, const void *, size_t, int);
} kernels;

static void decode3(const void * x, float * y, int64_t k) { dequantize_row_tbq3_0(x, y, k); }
static void decode4(const void * x, float * y, int64_t k) { dequantize_row_tbq4_0(x, y, k); }

static int check(const kernels * type) {
    static float x[N], query[N], expected[N], got[N];
    static uint8_t packed[N];
    for (int round = 0; round < ROUNDS; ++round) {
        for (int i = 0; i < N; ++i) {
            x[i] = round == 0 ? 0.0f : gaussian() * powf(10.0f, (float) (round % 9 - 4));
            query[i] = gaussian();
        }
        type->encode(x, packed, N);
        type->decode(packed, expected, N);
        type->decode_fast(packed, got, N);
        if (memcmp(expected, got, sizeof(got)) != 0) {
            return printf("%s: to_float differs in round %d\n", type->name, round), 1;
        }
        for (int n = 128; n <= N; n *= 2) {
            double sum = 0, size = 0;
            for (int i = 0; i < n; ++i) {
                sum += (double) expected[i] * query[i];
                size += fabs((double) expected[i] * query[i]);
            }
            float dot = NAN;
            type->dot(n, &dot, 0, packed, 0, query, 0, 1);
            if (!(fabs(dot - sum) <= 1e-6 * size)) {
                return printf("%s: vec_dot of %d gives %.9g, expected %.9g\n", type->name, n, dot, sum), 1;
            }
        }
    }
    return 0;
}

int main(void) {
    for (uint32_t half = 0; half < 1 << 16; ++half) {
        ggml_table_f32_f16[half] = GGML_COMPUTE_FP16_TO_FP32((ggml_fp16_t) half);
    }
    const kernels types[] = {
        { "tbq3_0", 50, quantize_row_tbq3_0, decode3, ggml_cpu_tbq3_0_to_fp32, ggml_vec_dot_tbq3_0_f32 },
        { "tbq4_0", 68, quantize_row_tbq4_0, decode4, ggml_cpu_tbq4_0_to_fp32, ggml_vec_dot_tbq4_0_f32 },
    };
    const int failed = check(&types[0]) + check(&types[1]);
    if (!failed) {
        printf("ok\n");
    }
    return failed;
}
