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

/* One weight and the pair it is for: acc[0] and acc[1] get their products. */
TINYML_INLINE void tinyml_mac_pair(int32_t* acc, int32_t pair, int32_t w) {
    const int32_t x0 = (int16_t)((uint32_t)pair & 0xFFFFU);
    acc[0] += x0 * w;
    acc[1] += ((pair - x0) >> 16) * w;
}

/* gcc hands out too few registers without optimization, and none above r7 at -Os. */
#if TINYML_ARMV6M && defined(__OPTIMIZE__) && !defined(__OPTIMIZE_SIZE__)
#define TINYML_ARMV6M_ASM 1
#else
#define TINYML_ARMV6M_ASM 0
#endif

#if TINYML_ARMV6M_ASM
/*
 * Both sums are the halves of one word. The upper half lacks 1 where the lower is negative, and the bit that the shift
 * drops last says so: it is the carry that ADCS adds. The words themselves add up, modulo 2**32, to
 * sum = a0 + a1 * 2**16, from which a0 follows at the end.
 */
#define TINYML_PAIRS_STEP(i, j)                                                                    \
    "ldmia %[x]!, {r2, r3}\n\tmovs r4, #" #i "\n\tldrsb r4, [%[w], r4]\n\t"                        \
    "movs r5, #" #j "\n\tldrsb r5, [%[w], r5]\n\tmuls r4, r2\n\tmuls r5, r3\n\t"                    \
    "adds r4, r5\n\tadd %[sum], r4\n\tasrs r4, #16\n\tadcs %[a1], r4\n\t"

TINYML_INLINE void tinyml_mac_pairs(int32_t* acc, const int8_t* pairs, const int8_t* w, int32_t n) {
    uint32_t sum = (uint32_t)acc[0] + ((uint32_t)acc[1] << 16);
    int32_t a1 = acc[1];
    const int8_t* const end = pairs + (n >> 3) * 32;
    const int8_t* const all = pairs + (n >> 1) * 8;
    if (pairs != end) {
        __asm volatile(".syntax unified\n0:\n\t" TINYML_PAIRS_STEP(0, 1) TINYML_PAIRS_STEP(2, 3)
                           TINYML_PAIRS_STEP(4, 5) TINYML_PAIRS_STEP(6, 7)
                       "adds %[w], #8\n\tcmp %[x], %[end]\n\tbne 0b\n\t"
                       : [x] "+l"(pairs), [w] "+l"(w), [sum] "+h"(sum), [a1] "+l"(a1)
                       : [end] "h"(end)
                       : "r2", "r3", "r4", "r5", "cc", "memory");
    }
    while (pairs != all) {
        __asm volatile(".syntax unified\n\t" TINYML_PAIRS_STEP(0, 1)
                       : [x] "+l"(pairs), [w] "+l"(w), [sum] "+h"(sum), [a1] "+l"(a1)
                       :
                       : "r2", "r3", "r4", "r5", "cc", "memory");
        w += 2;
    }
    acc[0] = (int32_t)(sum - ((uint32_t)a1 << 16));
    acc[1] = a1;
    if (n & 1) {
        tinyml_mac_pair(acc, *(const int32_t*)(const void*)pairs, *w);
    }
}
#undef TINYML_PAIRS_STEP
#else
TINYML_INLINE void tinyml_mac_pairs(int32_t* acc, const int8_t* pairs, const int8_t* w, int32_t n) {
    int32_t k;
    for (k = 0; k < n; ++k) {
        tinyml_mac_pair(acc, ((const int32_t*)(const void*)pairs)[k], w[k]);
    }
}
#endif

/* Four pixels in two words: quads[2 * k] as pairs[k], quads[2 * k + 1] the same of the next two pixels. */
#if TINYML_ARMV6M
/* Whole pairs of weights. Sums: r8 and r7, r9 and r10, as in tinyml_mac_pairs. */
#define TINYML_QUADS_STEP(i, j)                                                                    \
    "ldmia r0!, {r2, r3, r4, r5}\n\tmovs r6, #" #i "\n\tldrsb r6, [r1, r6]\n\t"                   \
    "muls r2, r6\n\tmuls r3, r6\n\tmovs r6, #" #j "\n\tldrsb r6, [r1, r6]\n\t"                   \
    "muls r4, r6\n\tmuls r5, r6\n\tadds r2, r4\n\tadds r3, r5\n\tadd r8, r2\n\tadd r9, r3\n\t"    \
    "mov r6, r10\n\tasrs r2, #16\n\tadcs r7, r2\n\tasrs r3, #16\n\tadcs r6, r3\n\tmov r10, r6\n\t"

__attribute__((naked, noinline, unused)) static void tinyml_mac_quads_even(
    __attribute__((unused)) int32_t* acc, __attribute__((unused)) const int8_t* quads,
    __attribute__((unused)) const int8_t* w, __attribute__((unused)) int32_t n) {
    __asm volatile(".syntax unified\n\tpush {r4, r5, r6, r7, lr}\n\t"
                   "mov r4, r8\n\tmov r5, r9\n\tmov r6, r10\n\tmov r7, r11\n\tpush {r0, r4, r5, r6, r7}\n\t"
                   "ldmia r0!, {r4, r5, r6, r7}\n\tmov r0, r1\n\tmov r1, r2\n\t"
                   "lsls r2, r5, #16\n\tadds r2, r4\n\tmov r8, r2\n\t"
                   "lsls r2, r7, #16\n\tadds r2, r6\n\tmov r9, r2\n\tmov r10, r7\n\tmov r7, r5\n\t"
                   "lsrs r2, r3, #3\n\tlsls r2, #6\n\tadds r2, r0\n\tmov r11, r2\n\t"
                   "lsrs r3, #1\n\tlsls r3, #4\n\tadds r3, r0\n\tmov r12, r3\n\t"
                   "cmp r0, r11\n\tbeq 2f\n1:\n\t"
                   TINYML_QUADS_STEP(0, 1) TINYML_QUADS_STEP(2, 3) TINYML_QUADS_STEP(4, 5) TINYML_QUADS_STEP(6, 7)
                   "adds r1, #8\n\tcmp r0, r11\n\tbne 1b\n2:\n\tcmp r0, r12\n\tbeq 3f\n\t"
                   TINYML_QUADS_STEP(0, 1)
                   "adds r1, #2\n\tb 2b\n3:\n\tpop {r0}\n\t"
                   "mov r2, r8\n\tlsls r3, r7, #16\n\tsubs r2, r3\n\tstr r2, [r0]\n\tstr r7, [r0, #4]\n\t"
                   "mov r6, r10\n\tmov r2, r9\n\tlsls r3, r6, #16\n\tsubs r2, r3\n\tstr r2, [r0, #8]\n\t"
                   "str r6, [r0, #12]\n\tpop {r4, r5, r6, r7}\n\tmov r8, r4\n\tmov r9, r5\n\tmov r10, r6\n\t"
                   "mov r11, r7\n\tpop {r4, r5, r6, r7, pc}");
}
#undef TINYML_QUADS_STEP

TINYML_INLINE void tinyml_mac_quads(int32_t* acc, const int8_t* quads, const int8_t* w, int32_t n) {
    tinyml_mac_quads_even(acc, quads, w, n);
    if (n & 1) {
        const int32_t* const last = (const int32_t*)(const void*)quads + 2 * (n - 1);
        tinyml_mac_pair(acc, last[0], w[n - 1]);
        tinyml_mac_pair(acc + 2, last[1], w[n - 1]);
    }
}
#else
TINYML_INLINE void tinyml_mac_quads(int32_t* acc, const int8_t* quads, const int8_t* w, int32_t n) {
    const int32_t* pairs = (const int32_t*)(const void*)quads;
    int32_t k;
    for (k = 0; k < n; ++k) {
        tinyml_mac_pair(acc, pairs[2 * k], w[k]);
        tinyml_mac_pair(acc + 2, pairs[2 * k + 1], w[k]);
    }
}
#endif
