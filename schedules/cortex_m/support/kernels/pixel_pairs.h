/* ---------------------------------------------------------------- convolution of Armv6-M */

/*
 * Two pixels in one word: pairs[k] = x0[k] + x1[k] * 2**16, which times a weight is both products. Two of them are added
 * before they are split, so no weight may be -128. Pairs are `every` words apart.
 */
TINYML_INLINE void tinyml_pair_rows(int8_t* to, int32_t every, const int8_t* x, int32_t step, int32_t n) {
    int32_t* pairs = (int32_t*)(void*)to;
    const int8_t* y = x + step;
    int32_t k;
    for (k = 0; k < n; ++k) {
        *pairs = y[k] * 65536 + x[k];
        pairs += every;
    }
}

TINYML_INLINE void tinyml_pair_fill(int8_t* to, int32_t every, int32_t value, int32_t n) {
    int32_t* pairs = (int32_t*)(void*)to;
    int32_t k;
    for (k = 0; k < n; ++k) {
        *pairs = value * 65536 + value;
        pairs += every;
    }
}

/*
 * Two or four pixels, `pitch` apart in `out`, of all channels. work: `length` groups of one pair or of two; w: [channels,
 * length]; length is even. table: see tinyml_scale_split. tinyml_pixel_pairs, tinyml_pixel_quads and the same _signed.
 */
#define TINYML_TILE_PARAMETERS(unused)                                                             \
    unused int8_t *out, unused const int8_t *work, unused const int8_t *w, unused const int32_t *table, \
        unused int32_t length, unused int32_t channels, unused int32_t pitch, unused int32_t shift, \
        unused int32_t low, unused int32_t high

#if TINYML_ARMV6M
/* r0, r1: pairs and weights; r11, r12: ends of pairs in eights and of all (by their size); [sp, #64]: end of out. */
#define TINYML_PIXELS_ENTER(eights, all)                                                           \
    TINYML_TILE_ENTER "mov r0, r1\n\tmov r1, r2\n\tldr r3, [sp, #60]\n\tlsrs r2, r3, #3\n\tlsls r2, #" #eights "\n\t" \
    "adds r2, r0\n\tmov r11, r2\n\tlsls r3, #" #all "\n\tadds r3, r0\n\tmov r12, r3\n\t"           \
    "ldr r2, [sp, #64]\n\tldr r3, [sp, #8]\n\tadds r2, r3\n\tstr r2, [sp, #64]\n1:\n\t"             \
    "ldr r0, [sp, #12]\n\tldr r6, [sp, #20]\n\tldr r2, [r6]\n\tlsls r3, r2, #16\n\tadds r3, r2\n\t"

#define TINYML_PIXELS_SUM(step)                                                                    \
    "cmp r0, r11\n\tbeq 3f\n2:\n\t" step(0, 1) step(2, 3) step(4, 5) step(6, 7)                    \
    "adds r1, #8\n\tcmp r0, r11\n\tbne 2b\n3:\n\tcmp r0, r12\n\tbeq 5f\n4:\n\t" step(0, 1)         \
    "adds r1, #2\n\tcmp r0, r12\n\tbne 4b\n5:\n\t"

/*
 * Both sums are the halves of one word. The upper half lacks 1 where the lower is negative, and the bit that the shift
 * drops last says so: it is the carry that ADCS adds. The words themselves add up, modulo 2**32, to
 * sum = a0 + a1 * 2**16, from which a0 follows at the end. r8, r7: sum, a1; r9, r10: those of the second pair.
 */
#define TINYML_PAIRS_STEP(i, j)                                                                    \
    "ldmia r0!, {r2, r3}\n\tmovs r4, #" #i "\n\tldrsb r4, [r1, r4]\n\tmovs r5, #" #j "\n\t"         \
    "ldrsb r5, [r1, r5]\n\tmuls r2, r4\n\tmuls r3, r5\n\tadds r2, r3\n\tadd r8, r2\n\t"             \
    "asrs r2, #16\n\tadcs r7, r2\n\t"
#define TINYML_QUADS_STEP(i, j)                                                                    \
    "ldmia r0!, {r2, r3, r4, r5}\n\tmovs r6, #" #i "\n\tldrsb r6, [r1, r6]\n\t"                     \
    "muls r2, r6\n\tmuls r3, r6\n\tmovs r6, #" #j "\n\tldrsb r6, [r1, r6]\n\t"                     \
    "muls r4, r6\n\tmuls r5, r6\n\tadds r2, r4\n\tadds r3, r5\n\tadd r8, r2\n\tadd r9, r3\n\t"      \
    "mov r6, r10\n\tasrs r2, #16\n\tadcs r7, r2\n\tasrs r3, #16\n\tadcs r6, r3\n\tmov r10, r6\n\t"

#define TINYML_PIXEL_PAIRS(name, load, rest)                                                       \
    TINYML_NAKED void name(TINYML_TILE_PARAMETERS(TINYML_UNUSED)) {                                \
        __asm volatile(TINYML_PIXELS_ENTER(5, 2) "mov r8, r3\n\tmov r7, r2\n\t"                     \
                       TINYML_PIXELS_SUM(TINYML_PAIRS_STEP) load(20)                               \
                       "lsls r6, r7, #16\n\tmov r0, r8\n\tsubs r6, r0, r6\n\t"                      \
                       TINYML_SCALE(r6, 1) TINYML_SCALE(r7, 2)                                     \
                       "ldr r0, [sp, #8]\n\tldr r2, [sp, #68]\n\tstrb r6, [r0]\n\tstrb r7, [r0, r2]\n\t" \
                       "adds r0, #1\n\tstr r0, [sp, #8]\n\tldr r2, [sp, #64]\n\tcmp r0, r2\n\tbeq 6f\n\tb 1b\n6:\n\t" \
                       TINYML_TILE_LEAVE rest(r6, 1) rest(r7, 2));                                 \
    }
#define TINYML_PIXEL_QUADS(name, load, rest)                                                       \
    TINYML_NAKED void name(TINYML_TILE_PARAMETERS(TINYML_UNUSED)) {                                \
        __asm volatile(TINYML_PIXELS_ENTER(6, 3) "mov r8, r3\n\tmov r9, r3\n\tmov r7, r2\n\tmov r10, r2\n\t" \
                       TINYML_PIXELS_SUM(TINYML_QUADS_STEP) load(20)                               \
                       "lsls r6, r7, #16\n\tmov r0, r8\n\tsubs r6, r0, r6\n\t"                      \
                       TINYML_SCALE(r6, 1) "mov r8, r6\n\t" TINYML_SCALE(r7, 2)                     \
                       "mov r6, r10\n\tlsls r6, #16\n\tmov r0, r9\n\tsubs r6, r0, r6\n\t"           \
                       TINYML_SCALE(r6, 3) "mov r9, r6\n\tmov r6, r10\n\t" TINYML_SCALE(r6, 4)      \
                       "ldr r0, [sp, #8]\n\tldr r2, [sp, #68]\n\tmov r3, r8\n\tstrb r3, [r0]\n\t"   \
                       "strb r7, [r0, r2]\n\tlsls r3, r2, #1\n\tadds r3, r0\n\tmov r4, r9\n\tstrb r4, [r3]\n\t" \
                       "strb r6, [r3, r2]\n\tadds r0, #1\n\tstr r0, [sp, #8]\n\tldr r2, [sp, #64]\n\t" \
                       "cmp r0, r2\n\tbeq 6f\n\tb 1b\n6:\n\t"                                      \
                       TINYML_TILE_LEAVE rest(r6, 1) rest(r7, 2) rest(r6, 3) rest(r6, 4));         \
    }
TINYML_PIXEL_PAIRS(tinyml_pixel_pairs, TINYML_SCALE_LOAD, TINYML_SCALE_REST)
TINYML_PIXEL_PAIRS(tinyml_pixel_pairs_signed, TINYML_SCALE_LOAD_SIGNED, TINYML_SCALE_REST_SIGNED)
TINYML_PIXEL_QUADS(tinyml_pixel_quads, TINYML_SCALE_LOAD, TINYML_SCALE_REST)
TINYML_PIXEL_QUADS(tinyml_pixel_quads_signed, TINYML_SCALE_LOAD_SIGNED, TINYML_SCALE_REST_SIGNED)
#undef TINYML_PIXELS_ENTER
#undef TINYML_PIXELS_SUM
#undef TINYML_PAIRS_STEP
#undef TINYML_QUADS_STEP
#undef TINYML_PIXEL_PAIRS
#undef TINYML_PIXEL_QUADS
#else
/* One channel of one pixel; k-th pairs are `every` words apart, x1 of one is the second pixel. */
TINYML_INLINE int32_t tinyml_pixel_sum(const int8_t* work, int32_t every, int second, const int8_t* w, int32_t length) {
    const int32_t* pairs = (const int32_t*)(const void*)work;
    int32_t k, sum = 0;
    for (k = 0; k < length; ++k) {
        const int32_t x0 = (int16_t)((uint32_t)pairs[k * every] & 0xFFFFU);
        sum += w[k] * (second ? (pairs[k * every] - x0) >> 16 : x0);
    }
    return sum;
}

#define TINYML_PIXEL_TILE(name, pixels, is_signed)                                                 \
    TINYML_INLINE void name(TINYML_TILE_PARAMETERS()) {                                            \
        int32_t c, i;                                                                              \
        for (c = 0; c < channels; ++c) {                                                           \
            const int32_t* row = table + (is_signed ? 6 : 4) * c;                                  \
            for (i = 0; i < pixels; ++i) {                                                         \
                const int8_t* pairs = work + 4 * (i / 2);                                          \
                int32_t x = tinyml_pixel_sum(pairs, pixels / 2, i % 2, w + length * c, length);    \
                out[pitch * i + c] = (int8_t)tinyml_scale_split(row[0] + x, row, is_signed, shift, low, high); \
            }                                                                                      \
        }                                                                                          \
    }
TINYML_PIXEL_TILE(tinyml_pixel_pairs, 2, 0)
TINYML_PIXEL_TILE(tinyml_pixel_pairs_signed, 2, 1)
TINYML_PIXEL_TILE(tinyml_pixel_quads, 4, 0)
TINYML_PIXEL_TILE(tinyml_pixel_quads_signed, 4, 1)
#undef TINYML_PIXEL_TILE
#endif
