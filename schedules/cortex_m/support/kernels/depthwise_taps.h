/* ---------------------------------------------------------------- depthwise convolution of Armv6-M */

/* Where the first channel of a tap's input and of its weights lies. */
typedef struct {
    const int8_t *x, *w;
} tinyml_tap;

/* The taps of the output whose window starts at `column`; those outside the image read `padding`. Weights are [T, C]. */
TINYML_SHARED void tinyml_window_taps(void* taps, const int8_t* data, const int32_t* row_at, int32_t first_row,
                                      int32_t row_count, int32_t kernel_h, int32_t kernel_w, int32_t column,
                                      int32_t dilation, int32_t width, int32_t channels, const int8_t* weights,
                                      const int8_t* padding) {
    tinyml_tap* tap = (tinyml_tap*)taps;
    int32_t i, j;
    for (i = 0; i < kernel_h; ++i) {
        const int inside = first_row <= i && i < first_row + row_count;
        int32_t at = column;
        for (j = 0; j < kernel_w; ++j) {
            tap->x = inside && 0 <= at && at < width ? data + row_at[i] + at * channels : padding;
            tap->w = weights;
            weights += channels;
            at += dilation;
            ++tap;
        }
    }
}

/* Moves the input of n taps from `first` on. */
TINYML_INLINE void tinyml_advance_taps(void* taps, int32_t first, int32_t n, int32_t step) {
    tinyml_tap* tap = (tinyml_tap*)taps + first;
    const tinyml_tap* const end = tap + n;
    for (; tap != end; ++tap) {
        tap->x += step;
    }
}

/* acc[0], acc[1] += the products of channels c and c + 1. */
#define TINYML_TAP_PAIR                                                                            \
    "ldmia %[t]!, {%[x], %[w]}\n\tldrsb %[p], [%[x], %[c]]\n\tldrsb %[q], [%[w], %[c]]\n\t"         \
    "muls %[p], %[q]\n\tadd %[a0], %[p]\n\tldrsb %[x], [%[x], %[d]]\n\tldrsb %[w], [%[w], %[d]]\n\t" \
    "muls %[x], %[w]\n\tadd %[a1], %[x]\n\t"

TINYML_INLINE void tinyml_mac_taps(int32_t* acc, const tinyml_tap* taps, int32_t n, int32_t c) {
#if TINYML_ARMV6M_ASM
    int32_t a0 = acc[0], a1 = acc[1];
    /* LDMIA takes registers in rising order. */
    register const int8_t* x __asm("r2");
    register const int8_t* w __asm("r3");
    int32_t p, q;
    if (n == 9) {
        __asm volatile(".syntax unified\n\t" TINYML_TAP_PAIR TINYML_TAP_PAIR TINYML_TAP_PAIR TINYML_TAP_PAIR
                           TINYML_TAP_PAIR TINYML_TAP_PAIR TINYML_TAP_PAIR TINYML_TAP_PAIR TINYML_TAP_PAIR
                       : [t] "+&l"(taps), [a0] "+&h"(a0), [a1] "+&h"(a1), [x] "=&l"(x), [w] "=&l"(w),
                         [p] "=&l"(p), [q] "=&l"(q)
                       : [c] "l"(c), [d] "l"(c + 1)
                       : "cc", "memory");
    } else {
        __asm volatile(".syntax unified\n0:\n\t" TINYML_TAP_PAIR "cmp %[t], %[end]\n\tbne 0b\n\t"
                       : [t] "+&l"(taps), [a0] "+&h"(a0), [a1] "+&h"(a1), [x] "=&l"(x), [w] "=&l"(w),
                         [p] "=&l"(p), [q] "=&l"(q)
                       : [c] "l"(c), [d] "l"(c + 1), [end] "h"(taps + n)
                       : "cc", "memory");
    }
    acc[0] = a0;
    acc[1] = a1;
#else
    int32_t i;
    for (i = 0; i < n; ++i) {
        acc[0] += taps[i].x[c] * taps[i].w[c];
        acc[1] += taps[i].x[c + 1] * taps[i].w[c + 1];
    }
#endif
}
#undef TINYML_TAP_PAIR

/* One output of all channels. next: from a channel's multiplier and halvings to the next one's, 0 or 2. */
TINYML_SHARED void tinyml_depthwise_output(int8_t* out, const void* taps, int32_t n, const int32_t* bias,
                                           const int32_t* scale, int32_t next, int32_t channels, int32_t zero_point,
                                           int32_t low, int32_t high, int narrow) {
    const tinyml_tap* const tap = (const tinyml_tap*)taps;
    int32_t acc[2], c, i;
    for (c = 0; c + 1 < channels; c += 2) {
        acc[0] = bias[c];
        acc[1] = bias[c + 1];
        tinyml_mac_taps(acc, tap, n, c);
        out[c] = (int8_t)tinyml_requantize_tflm_clamped(acc[0], scale[0], scale[1], zero_point, low, high, narrow);
        scale += next;
        out[c + 1] = (int8_t)tinyml_requantize_tflm_clamped(acc[1], scale[0], scale[1], zero_point, low, high, narrow);
        scale += next;
    }
    if (c < channels) {
        acc[0] = bias[c];
        for (i = 0; i < n; ++i) {
            acc[0] += tap[i].x[c] * tap[i].w[c];
        }
        out[c] = (int8_t)tinyml_requantize_tflm_clamped(acc[0], scale[0], scale[1], zero_point, low, high, narrow);
    }
}
