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

/*
 * One or four pixels of all channels; inputs are `step` apart, outputs `pitch`. table: see tinyml_scale_split.
 * tinyml_depthwise_one, tinyml_depthwise_four and the same _signed.
 */
#define TINYML_TAPS_PARAMETERS(unused)                                                             \
    unused int8_t *out, unused const void *taps, unused const int32_t *table, unused int32_t step,  \
        unused int32_t n, unused int32_t channels, unused int32_t pitch, unused int32_t shift, unused int32_t low, \
        unused int32_t high

#if TINYML_ARMV6M
/* r0: taps; r1: channel; r12: end of taps in threes; [sp, #60]: end of all. n * 171 >> 9 is n / 3 for n < 128. */
#define TINYML_TAPS_ENTER                                                                          \
    TINYML_TILE_ENTER "ldr r2, [sp, #60]\n\tlsls r3, r2, #3\n\tadds r3, r1\n\tstr r3, [sp, #60]\n\t" \
    "movs r3, #171\n\tmuls r2, r3\n\tlsrs r2, #9\n\tlsls r3, r2, #4\n\tlsls r2, #3\n\tadds r2, r3\n\tadds r2, r1\n\t" \
    "mov r12, r2\n\tmovs r1, #0\n1:\n\tldr r6, [sp, #16]\n\tldr r2, [r6]\n\tmov r8, r2\n\t"
#define TINYML_TAPS_SUM(step)                                                                      \
    "ldr r0, [sp, #12]\n\tldr r4, [sp, #60]\n\tmov lr, r4\n\tcmp r0, r12\n\tbeq 3f\n2:\n\t"         \
    step step step "cmp r0, r12\n\tbne 2b\n3:\n\tcmp r0, lr\n\tbeq 5f\n4:\n\t" step "cmp r0, lr\n\tbne 4b\n5:\n\t"

/* The weight in r3 serves pixels at r1, r5, r6, r7. Sums: r8 to r11. */
#define TINYML_FOUR_TAP                                                                            \
    "ldmia r0!, {r2, r3}\n\tldrsb r3, [r3, r1]\n\tldrsb r4, [r2, r1]\n\tmuls r4, r3\n\tadd r8, r4\n\t" \
    "ldrsb r4, [r2, r5]\n\tmuls r4, r3\n\tadd r9, r4\n\tldrsb r4, [r2, r6]\n\tmuls r4, r3\n\tadd r10, r4\n\t" \
    "ldrsb r2, [r2, r7]\n\tmuls r2, r3\n\tadd r11, r2\n\t"
/* Channels at r1 and r6 of one pixel. */
#define TINYML_ONE_TAP                                                                             \
    "ldmia r0!, {r2, r3}\n\tldrsb r4, [r2, r1]\n\tldrsb r5, [r3, r1]\n\tmuls r4, r5\n\tadd r8, r4\n\t" \
    "ldrsb r2, [r2, r6]\n\tldrsb r3, [r3, r6]\n\tmuls r2, r3\n\tadd r9, r2\n\t"

#define TINYML_DEPTHWISE_FOUR(name, load, rest)                                                    \
    TINYML_NAKED void name(TINYML_TAPS_PARAMETERS(TINYML_UNUSED)) {                                \
        __asm volatile(TINYML_TAPS_ENTER "mov r9, r2\n\tmov r10, r2\n\tmov r11, r2\n\tldr r4, [sp, #20]\n\t" \
                       "adds r5, r1, r4\n\tadds r6, r5, r4\n\tadds r7, r6, r4\n\t"                  \
                       TINYML_TAPS_SUM(TINYML_FOUR_TAP) load(16)                                   \
                       "mov r6, r8\n\t" TINYML_SCALE(r6, 1)                                        \
                       "ldr r0, [sp, #68]\n\tmov r8, r0\n\tldr r7, [sp, #8]\n\tstrb r6, [r7, r1]\n\t" \
                       "mov r6, r9\n\t" TINYML_SCALE(r6, 2) "add r7, r8\n\tstrb r6, [r7, r1]\n\t"   \
                       "mov r6, r10\n\t" TINYML_SCALE(r6, 3) "add r7, r8\n\tstrb r6, [r7, r1]\n\t"  \
                       "mov r6, r11\n\t" TINYML_SCALE(r6, 4) "add r7, r8\n\tstrb r6, [r7, r1]\n\t"  \
                       "adds r1, #1\n\tldr r0, [sp, #64]\n\tcmp r1, r0\n\tbeq 6f\n\tb 1b\n6:\n\t"   \
                       TINYML_TILE_LEAVE rest(r6, 1) rest(r6, 2) rest(r6, 3) rest(r6, 4));         \
    }
/* The last channel of an odd number is made with the one before it, which has been made already. */
#define TINYML_DEPTHWISE_ONE(name, load, rest, row)                                                \
    TINYML_NAKED void name(TINYML_TAPS_PARAMETERS(TINYML_UNUSED)) {                                \
        __asm volatile(TINYML_TAPS_ENTER "ldr r2, [r6, #" #row "]\n\tmov r9, r2\n\tadds r6, r1, #1\n\t" \
                       TINYML_TAPS_SUM(TINYML_ONE_TAP) load(16)                                    \
                       "mov r6, r8\n\t" TINYML_SCALE(r6, 1) "ldr r7, [sp, #8]\n\tstrb r6, [r7, r1]\n\t" \
                       "adds r1, #1\n\t" load(16)                                                 \
                       "mov r6, r9\n\t" TINYML_SCALE(r6, 2) "strb r6, [r7, r1]\n\tadds r1, #1\n\t" \
                       "ldr r0, [sp, #64]\n\tsubs r0, r1\n\tbeq 6f\n\tcmp r0, #1\n\tbne 7f\n\t"  \
                       "subs r1, #1\n\tldr r0, [sp, #16]\n\tsubs r0, #" #row "\n\tstr r0, [sp, #16]\n7:\n\t" \
                       "b 1b\n6:\n\t" TINYML_TILE_LEAVE rest(r6, 1) rest(r6, 2));                 \
    }
TINYML_DEPTHWISE_ONE(tinyml_depthwise_one, TINYML_SCALE_LOAD, TINYML_SCALE_REST, 16)
TINYML_DEPTHWISE_ONE(tinyml_depthwise_one_signed, TINYML_SCALE_LOAD_SIGNED, TINYML_SCALE_REST_SIGNED, 24)
TINYML_DEPTHWISE_FOUR(tinyml_depthwise_four, TINYML_SCALE_LOAD, TINYML_SCALE_REST)
TINYML_DEPTHWISE_FOUR(tinyml_depthwise_four_signed, TINYML_SCALE_LOAD_SIGNED, TINYML_SCALE_REST_SIGNED)
#undef TINYML_TAPS_ENTER
#undef TINYML_TAPS_SUM
#undef TINYML_FOUR_TAP
#undef TINYML_ONE_TAP
#undef TINYML_DEPTHWISE_FOUR
#undef TINYML_DEPTHWISE_ONE
#else
#define TINYML_DEPTHWISE(name, pixels, is_signed)                                                  \
    TINYML_INLINE void name(TINYML_TAPS_PARAMETERS()) {                                            \
        const tinyml_tap* const tap = (const tinyml_tap*)taps;                                     \
        int32_t c, i, k;                                                                           \
        for (c = 0; c < channels; ++c) {                                                           \
            const int32_t* row = table + (is_signed ? 6 : 4) * c;                                  \
            for (i = 0; i < pixels; ++i) {                                                         \
                int32_t x = row[0];                                                                \
                for (k = 0; k < n; ++k) {                                                          \
                    x += tap[k].x[c + step * i] * tap[k].w[c];                                     \
                }                                                                                  \
                out[pitch * i + c] = (int8_t)tinyml_scale_split(x, row, is_signed, shift, low, high); \
            }                                                                                      \
        }                                                                                          \
    }
TINYML_DEPTHWISE(tinyml_depthwise_one, 1, 0)
TINYML_DEPTHWISE(tinyml_depthwise_one_signed, 1, 1)
TINYML_DEPTHWISE(tinyml_depthwise_four, 4, 0)
TINYML_DEPTHWISE(tinyml_depthwise_four_signed, 4, 1)
#undef TINYML_DEPTHWISE
#endif
