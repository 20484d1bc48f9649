/*
 * tvm-tiny: what the generated kernels call.
 *
 * C99, also valid C++. Needs nothing but the three headers below. Everything is static inline: a program carries what it
 * uses. On cores with the Armv7E-M SIMD instructions (TINYML_DSP) a few functions are inline assembly; every one of them
 * has a plain-C twin with the same result, which is what runs on a host.
 *
 * Shifting a negative number right is taken to be arithmetic, as gcc, clang and armclang define it. Numbers that may be
 * negative are never shifted left; sums that may wrap are formed in unsigned arithmetic.
 *
 * Define TINYML_PORTABLE to leave out all assembly.
 */
#ifndef TVM_TINY_KERNELS_H
#define TVM_TINY_KERNELS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* ---------------------------------------------------------------- compilers and cores */

#if defined(__GNUC__)
#define TINYML_INLINE static inline __attribute__((always_inline, unused))
#define TINYML_ALIGNED(n) __attribute__((aligned(n)))
/* Kernels stay functions: inlined into the main loop they would share their registers with it. */
#define TINYML_KERNEL __attribute__((noinline))
#else
#define TINYML_INLINE static inline
#define TINYML_ALIGNED(n)
#define TINYML_KERNEL
#endif

#if defined(__GNUC__) && defined(__ELF__)
#define TINYML_SECTION(name) __attribute__((section(name)))
#else
#define TINYML_SECTION(name)
#endif

#if defined(__GNUC__) && defined(__ARM_FEATURE_DSP) && defined(__arm__) && !defined(TINYML_PORTABLE)
#define TINYML_DSP 1
#else
#define TINYML_DSP 0
#endif

#if TINYML_DSP && defined(__ARM_FEATURE_MVE)
#define TINYML_MVE 1
#else
#define TINYML_MVE 0
#endif

#if defined(__GNUC__) && defined(__ARM_ARCH_6M__) && !defined(TINYML_PORTABLE)
#define TINYML_ARMV6M 1
#else
#define TINYML_ARMV6M 0
#endif

/* Every FPU of Armv8-M converts halves away from zero when asked to (that of a Cortex-M4 truncates only). */
#if TINYML_DSP && defined(__ARM_FP) && defined(__ARM_ARCH) && __ARM_ARCH >= 8
#define TINYML_ROUND 1
#else
#define TINYML_ROUND 0
#endif

/*
 * A function that is nothing but assembly. No compiler may draw conclusions from a body it cannot see into: noipa where
 * there is one (gcc), else noinline, which is all that the others look into.
 */
#if TINYML_DSP && defined(__clang__)
#define TINYML_NAKED static __attribute__((naked, noinline, unused))
#elif TINYML_DSP
#define TINYML_NAKED static __attribute__((naked, noipa, unused))
#endif
#if TINYML_DSP
#define TINYML_UNUSED __attribute__((unused))
#endif

#if defined(__GNUC__) && defined(__ARM_FEATURE_SAT) && defined(__arm__) && !defined(TINYML_PORTABLE)
#define TINYML_SAT 1
#else
#define TINYML_SAT 0
#endif

/*
 * TINYML_MARK(i): layer i starts here (-1: the network has ended). Costs no instruction. A profiling build
 * (TINYML_PROFILE) keeps pairs of (address of the instruction, layer) in the section .tinyml_marks.
 */
#if defined(TINYML_PROFILE) && defined(__GNUC__) && defined(__arm__)
#define TINYML_MARK(i)                                                                             \
    __asm volatile("0:\n\t.pushsection .tinyml_marks,\"a\",%%progbits\n\t.balign 4\n\t"            \
                   ".word 0b, %c0\n\t.popsection" ::"i"(i)                                         \
                   : "memory")
#else
#define TINYML_MARK(i) ((void)0)
#endif

/* What float kernels call of the C library's libm; <math.h> itself is not needed. */
#ifdef __cplusplus
extern "C" {
#endif
#if !defined(_MATH_H) && !defined(_MATH_H_)
float ceilf(float);
float cosf(float);
float erff(float);
float exp2f(float);
float expf(float);
float fabsf(float);
float floorf(float);
float fmodf(float, float);
float log2f(float);
float logf(float);
float nearbyintf(float);
float powf(float, float);
float roundf(float);
float sinf(float);
float sqrtf(float);
float tanhf(float);
float truncf(float);
#endif
#ifdef __cplusplus
}
#endif

/* ---------------------------------------------------------------- integers */

TINYML_INLINE int32_t tinyml_clamp(int32_t x, int32_t low, int32_t high) {
#if TINYML_SAT
    if (low == -128 && high == 127) {
        int32_t saturated;
        __asm("ssat %0, #8, %1" : "=r"(saturated) : "r"(x));
        return saturated;
    }
#endif
    x = x < high ? x : high;
    return x > low ? x : low;
}

/* x * 2**shift modulo 2**32. */
TINYML_INLINE int32_t tinyml_shift_left(int32_t x, int32_t shift) {
    return (int32_t)((uint32_t)x << shift);
}

/* Leading zero bits of x, 32 for 0. */
TINYML_INLINE int32_t tinyml_leading_zeros(uint32_t x) {
#if defined(__GNUC__)
    return x == 0U ? 32 : (int32_t)__builtin_clz(x);
#else
    int32_t n = 0;
    while (n < 32 && (x & (0x80000000U >> n)) == 0U) {
        ++n;
    }
    return n;
#endif
}

/* High word of a * b, rounded half up: (a * b + 2**31) >> 32. */
TINYML_INLINE int32_t tinyml_multiply_high_rounded(int32_t a, int32_t b) {
#if TINYML_DSP
    int32_t high;
    __asm("smmulr %0, %1, %2" : "=r"(high) : "r"(a), "r"(b));
    return high;
#elif TINYML_ARMV6M
    /* Without a long multiply: four products of halves; none of the sums overflows. */
    const int32_t a_high = a >> 16, b_high = b >> 16;
    const uint32_t a_low = (uint32_t)a & 0xFFFFU, b_low = (uint32_t)b & 0xFFFFU;
    const int32_t middle = a_high * (int32_t)b_low + (int32_t)(a_low * b_low >> 16);
    const int32_t other = (int32_t)a_low * b_high + (middle & 0xFFFF);
    return a_high * b_high + (middle >> 16) + (((other >> 15) + 1) >> 1);
#else
    return (int32_t)(((int64_t)a * b + ((int64_t)1 << 31)) >> 32);
#endif
}

/* High word of a * b, rounded down. */
TINYML_INLINE int32_t tinyml_multiply_high(int32_t a, int32_t b) {
    return (int32_t)(((int64_t)a * b) >> 32);
}

/* a * b / 2**31 rounded half up; saturates in the one case that overflows. gemmlowp's SaturatingRoundingDoublingHighMul. */
TINYML_INLINE int32_t tinyml_multiply_q31(int32_t a, int32_t b) {
    if (a == INT32_MIN && b == INT32_MIN) {
        return INT32_MAX;
    }
    return (int32_t)(((int64_t)a * b + ((int64_t)1 << 30)) >> 31);
}

/* x / 2**shift rounded half away from zero, 0 <= shift <= 31. gemmlowp's RoundingDivideByPOT. */
TINYML_INLINE int32_t tinyml_divide_power_of_two(int32_t x, int32_t shift) {
    const int32_t mask = (int32_t)(((uint32_t)1 << shift) - 1U);
    const int32_t remainder = x & mask;
    const int32_t threshold = (mask >> 1) + (x < 0 ? 1 : 0);
    return (x >> shift) + (remainder > threshold ? 1 : 0);
}

/* x * 2**shift, saturating, 0 < shift < 31. gemmlowp's SaturatingRoundingMultiplyByPOT. */
TINYML_INLINE int32_t tinyml_multiply_power_of_two(int32_t x, int32_t shift) {
    const int32_t limit = (int32_t)(((uint32_t)1 << (31 - shift)) - 1U);
    if (x > limit) {
        return INT32_MAX;
    }
    if (x < -limit) {
        return INT32_MIN;
    }
    return tinyml_shift_left(x, shift);
}

/* ---------------------------------------------------------------- requantization */

/* x * multiplier * 2**(shift - 31), rounded twice: TFLite Micro's MultiplyByQuantizedMultiplier. */
TINYML_INLINE int32_t tinyml_requantize_tflm(int32_t x, int32_t multiplier, int32_t shift) {
    const int32_t left = shift > 0 ? shift : 0;
    const int32_t right = shift > 0 ? 0 : -shift;
    return tinyml_divide_power_of_two(tinyml_multiply_q31(tinyml_shift_left(x, left), multiplier), right);
}

/* The same, rounded once, half up. */
TINYML_INLINE int32_t tinyml_requantize_single(int32_t x, int32_t multiplier, int32_t shift) {
    const int32_t total = 31 - shift;
    return (int32_t)(((int64_t)x * multiplier + ((int64_t)1 << (total - 1))) >> total);
}

/*
 * tinyml_requantize_tflm for |x| < 2**30 and shift = -1 - halvings, halvings >= 0; then + zero_point.
 * Doubling x makes the 31-bit product the high word of a multiply that rounds. Adding the sign sends ties away from zero;
 * floor((t + 2**h) / 2**(h+1)) is taken as floor((floor(t / 2**h) + 1) / 2), so that no rounding constant is needed and
 * the zero point joins the one.
 */
TINYML_INLINE int32_t tinyml_requantize_tflm_small(int32_t x, int32_t multiplier, int32_t halvings, int32_t zero_point) {
    const int32_t high = tinyml_multiply_high_rounded(x * 2, multiplier);
    return (((high + (high >> 31)) >> halvings) + (2 * zero_point + 1)) >> 1;
}

/*
 * tinyml_requantize_tflm_small, then the clamp. narrow: |x| < 2**20, multiplier >= 0; Armv6-M, whose products have 32 bits,
 * then takes the multiplier in pieces of 11, 11 and 9 bits; rounding down between them changes nothing. ASRS leaves the
 * rounding bit in the carry. Where outputs below the zero point are clamped anyway, signs are all that negative x have.
 */
TINYML_INLINE int32_t tinyml_requantize_tflm_clamped(int32_t x, int32_t multiplier, int32_t halvings, int32_t zero_point,
                                         int32_t low, int32_t high, int narrow) {
#if TINYML_ARMV6M
    if (narrow) {
        const uint32_t m = (uint32_t)multiplier;
        int32_t t, sign = 0;
        if (low == zero_point && x <= 0) {
            return low;
        }
        t = x * (int32_t)(m & 2047U) >> 11;
        t = (x * (int32_t)(m << 10 >> 21) + t) >> 11;
        t += x * (int32_t)(m >> 22);
        if (low != zero_point) {
            /* That of t before rounding: of -1 and 0 it makes the same output. */
            sign = t >> 31;
        }
        __asm(".syntax unified\n\tasrs %0, #9\n\tadcs %0, %1" : "+l"(t) : "l"(sign) : "cc");
        t = ((t >> halvings) + (2 * zero_point + 1)) >> 1;
        t = t < high ? t : high;
        return low == zero_point || t > low ? t : low;
    }
#endif
    (void)narrow;
    return tinyml_clamp(tinyml_requantize_tflm_small(x, multiplier, halvings, zero_point), low, high);
}

/* tinyml_requantize_single for shift = -2 - halvings, halvings >= 0; then + zero_point. */
TINYML_INLINE int32_t tinyml_requantize_single_small(int32_t x, int32_t multiplier, int32_t halvings,
                                                     int32_t zero_point) {
    return ((tinyml_multiply_high(x, multiplier) >> halvings) + (2 * zero_point + 1)) >> 1;
}

/* ---------------------------------------------------------------- vectors (MVE) */

/* Values that are neighbours in memory, and how far it is to those of the next pixel. */
typedef struct {
    const int8_t* at;
    ptrdiff_t step;
} tinyml_run;

#if !TINYML_MVE
/*
 * What the vector instructions make of a product or a sum t. numbers: shift to the left, addend; what raises the high bound
 * to the end of int32, what moves it back; what raises it further or, if low, lowers and moves back the low bound.
 */
TINYML_INLINE int32_t tinyml_saturate(int64_t x) {
    return x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : (int32_t)x;
}

TINYML_INLINE int8_t tinyml_vector_finish(int32_t t, int low, const int32_t* numbers) {
    t = (int32_t)((uint32_t)t + (uint32_t)numbers[1]);
    t = numbers[0] < 0 ? t >> -numbers[0] : tinyml_saturate(t * ((int64_t)1 << numbers[0]));
    t = tinyml_saturate((int64_t)t + numbers[2]);
    if (!low) {
        t = tinyml_saturate((int64_t)t + numbers[4]);
    }
    t = (int32_t)((uint32_t)t + (uint32_t)numbers[3]);
    if (low) {
        t = tinyml_saturate((int64_t)t - numbers[4]);
        t = (int32_t)((uint32_t)t + (uint32_t)numbers[4]);
    }
    return (int8_t)(t >> 24);
}

/* What they make of an accumulator: products are shifted right by shift, 32 or 31. */
TINYML_INLINE int8_t tinyml_vector_requantize(int32_t t, int32_t multiplier, int32_t sign, int32_t shift, int low,
                                              const int32_t* numbers) {
    t = (int32_t)((uint32_t)t - (t < 0 ? (uint32_t)sign : 0U));
    return tinyml_vector_finish((int32_t)((int64_t)t * multiplier >> shift), low, numbers);
}
#endif

/* ---------------------------------------------------------------- multiply-accumulate */

/*
 * tinyml_mac_<pixels>x<channels>: acc[p * channels + c] += sum over k < n of (x[p * step + k] - zero_point) * w[c][k].
 * Weights come in blocks of four k: w[k / 4][c][k % 4]; the last n % 4 as w[c] per k.
 */

#if TINYML_DSP
TINYML_INLINE uint32_t tinyml_load_word(const int8_t* p) {
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* Bytes 0 and 2, sign-extended to halfwords. */
TINYML_INLINE uint32_t tinyml_even(uint32_t word) {
    uint32_t pair;
    __asm("sxtb16 %0, %1" : "=r"(pair) : "r"(word));
    return pair;
}

/* Bytes 1 and 3. */
TINYML_INLINE uint32_t tinyml_odd(uint32_t word) {
    uint32_t pair;
    __asm("sxtb16 %0, %1, ror #8" : "=r"(pair) : "r"(word));
    return pair;
}

TINYML_INLINE uint32_t tinyml_even_plus(uint32_t addend, uint32_t word) {
    uint32_t pair;
    __asm("sxtab16 %0, %1, %2" : "=r"(pair) : "r"(addend), "r"(word));
    return pair;
}

TINYML_INLINE uint32_t tinyml_odd_plus(uint32_t addend, uint32_t word) {
    uint32_t pair;
    __asm("sxtab16 %0, %1, %2, ror #8" : "=r"(pair) : "r"(addend), "r"(word));
    return pair;
}

/* acc + both halfword products. */
TINYML_INLINE int32_t tinyml_dot2(uint32_t a, uint32_t b, int32_t acc) {
    int32_t sum;
    __asm("smlad %0, %1, %2, %3" : "=r"(sum) : "r"(a), "r"(b), "r"(acc));
    return sum;
}

TINYML_INLINE int32_t tinyml_mac_low(uint32_t a, uint32_t b, int32_t acc) {
    int32_t sum;
    __asm("smlabb %0, %1, %2, %3" : "=r"(sum) : "r"(a), "r"(b), "r"(acc));
    return sum;
}

TINYML_INLINE int32_t tinyml_mac_high(uint32_t a, uint32_t b, int32_t acc) {
    int32_t sum;
    __asm("smlatt %0, %1, %2, %3" : "=r"(sum) : "r"(a), "r"(b), "r"(acc));
    return sum;
}

/* -zero_point in both halfwords. */
TINYML_INLINE uint32_t tinyml_negated_pair(int32_t zero_point) {
    return ((uint32_t)-zero_point & 0xFFFFU) * 0x10001U;
}

/* Prepared input: lanes o = odd - 127 of a word of bytes, and with them e = 256 * even - o. */
TINYML_INLINE uint32_t tinyml_prepared_odd(uint32_t word) {
    return tinyml_odd_plus(0xFF81FF81U, word);
}

TINYML_INLINE uint32_t tinyml_prepared_even(uint32_t word, uint32_t odd) {
    uint32_t pair;
    __asm("ssub16 %0, %1, %2" : "=r"(pair) : "r"(word << 8 & 0xFF00FF00U), "r"(odd));
    return pair;
}
#else
/* What the plain-C twins of generated assembly are written with. */

TINYML_INLINE uint32_t tinyml_load_word(const int8_t* p) {
    const uint32_t low = (uint32_t)(uint8_t)p[0] | (uint32_t)(uint8_t)p[1] << 8;
    return low | (uint32_t)(uint8_t)p[2] << 16 | (uint32_t)(uint8_t)p[3] << 24;
}

/* The halfwords of a word, sign-extended, and a word of two halfwords. */
TINYML_INLINE int32_t tinyml_low(uint32_t pair) {
    return (int16_t)(pair & 0xFFFFU);
}

TINYML_INLINE int32_t tinyml_high(uint32_t pair) {
    return (int16_t)(pair >> 16);
}

TINYML_INLINE uint32_t tinyml_pair(int32_t low, int32_t high) {
    return ((uint32_t)low & 0xFFFFU) | (uint32_t)high << 16;
}

/* Bytes 0 and 2, bytes 1 and 3, sign-extended to halfwords. */
TINYML_INLINE uint32_t tinyml_even(uint32_t word) {
    return tinyml_pair((int8_t)(word & 0xFFU), (int8_t)(word >> 16 & 0xFFU));
}

TINYML_INLINE uint32_t tinyml_odd(uint32_t word) {
    return tinyml_even(word >> 8);
}

/* Prepared input: lanes o = odd - 127 of a word of bytes, and with them e = 256 * even - o. */
TINYML_INLINE uint32_t tinyml_prepared_odd(uint32_t word) {
    const uint32_t odd = tinyml_odd(word);
    return tinyml_pair(tinyml_low(odd) - 127, tinyml_high(odd) - 127);
}

TINYML_INLINE uint32_t tinyml_prepared_even(uint32_t word, uint32_t odd) {
    const uint32_t even = tinyml_even(word);
    return tinyml_pair(256 * tinyml_low(even) - tinyml_low(odd), 256 * tinyml_high(even) - tinyml_high(odd));
}

/* u + first, at most 255, + second: a byte. */
TINYML_INLINE int32_t tinyml_from_zero(int32_t u, int32_t first, int32_t second) {
    const int32_t byte = ((u + first < 255 ? u + first : 255) + second) & 0xFF;
    return byte < 128 ? byte : byte - 256;
}

/* acc + a * b modulo 2**32; acc + both halfword products. */
TINYML_INLINE int32_t tinyml_mac(int32_t a, int32_t b, int32_t acc) {
    return (int32_t)((uint32_t)acc + (uint32_t)(a * b));
}

TINYML_INLINE int32_t tinyml_dot2(uint32_t a, uint32_t b, int32_t acc) {
    acc = tinyml_mac(tinyml_low(a), tinyml_low(b), acc);
    return tinyml_mac(tinyml_high(a), tinyml_high(b), acc);
}

/* addend + the high word of a * b, modulo 2**32. */
TINYML_INLINE int32_t tinyml_multiply_high_plus(int32_t a, int32_t b, int32_t addend) {
    return (int32_t)((uint32_t)tinyml_multiply_high(a, b) + (uint32_t)addend);
}
#endif

TINYML_INLINE void tinyml_mac_1x1(int32_t* acc, const int8_t* x, const int8_t* w, int32_t n, int32_t zero_point) {
    int32_t a0 = acc[0];
    int32_t k;
#if TINYML_DSP
    const uint32_t offset = tinyml_negated_pair(zero_point);
#endif
    for (k = n >> 2; k > 0; --k) {
#if TINYML_DSP
        const uint32_t x0 = tinyml_load_word(x), w0 = tinyml_load_word(w);
        a0 = tinyml_dot2(tinyml_even_plus(offset, x0), tinyml_even(w0), a0);
        a0 = tinyml_dot2(tinyml_odd_plus(offset, x0), tinyml_odd(w0), a0);
#else
        a0 += (x[0] - zero_point) * w[0];
        a0 += (x[1] - zero_point) * w[1];
        a0 += (x[2] - zero_point) * w[2];
        a0 += (x[3] - zero_point) * w[3];
#endif
        x += 4;
        w += 4;
    }
    for (k = n & 3; k > 0; --k) {
        a0 += (*x++ - zero_point) * *w++;
    }
    acc[0] = a0;
}

TINYML_INLINE void tinyml_mac_1x2(int32_t* acc, const int8_t* x, const int8_t* w, int32_t n, int32_t zero_point) {
    int32_t a0 = acc[0], a1 = acc[1];
    int32_t k;
#if TINYML_DSP
    const uint32_t offset = tinyml_negated_pair(zero_point);
#endif
    for (k = n >> 2; k > 0; --k) {
#if TINYML_DSP
        const uint32_t x0 = tinyml_load_word(x), w0 = tinyml_load_word(w), w1 = tinyml_load_word(w + 4);
        const uint32_t even = tinyml_even_plus(offset, x0), odd = tinyml_odd_plus(offset, x0);
        a0 = tinyml_dot2(even, tinyml_even(w0), a0);
        a0 = tinyml_dot2(odd, tinyml_odd(w0), a0);
        a1 = tinyml_dot2(even, tinyml_even(w1), a1);
        a1 = tinyml_dot2(odd, tinyml_odd(w1), a1);
#else
        const int32_t x0 = x[0] - zero_point, x1 = x[1] - zero_point;
        const int32_t x2 = x[2] - zero_point, x3 = x[3] - zero_point;
        a0 += x0 * w[0] + x1 * w[1] + x2 * w[2] + x3 * w[3];
        a1 += x0 * w[4] + x1 * w[5] + x2 * w[6] + x3 * w[7];
#endif
        x += 4;
        w += 8;
    }
    for (k = n & 3; k > 0; --k) {
        const int32_t x0 = *x++ - zero_point;
        a0 += x0 * w[0];
        a1 += x0 * w[1];
        w += 2;
    }
    acc[0] = a0;
    acc[1] = a1;
}

TINYML_INLINE void tinyml_mac_1x4(int32_t* acc, const int8_t* x, const int8_t* w, int32_t n, int32_t zero_point) {
    int32_t a0 = acc[0], a1 = acc[1], a2 = acc[2], a3 = acc[3];
    int32_t k;
#if TINYML_DSP
    const uint32_t offset = tinyml_negated_pair(zero_point);
#endif
    for (k = n >> 2; k > 0; --k) {
#if TINYML_DSP
        const uint32_t x0 = tinyml_load_word(x), w0 = tinyml_load_word(w), w1 = tinyml_load_word(w + 4);
        const uint32_t w2 = tinyml_load_word(w + 8), w3 = tinyml_load_word(w + 12);
        const uint32_t even = tinyml_even_plus(offset, x0), odd = tinyml_odd_plus(offset, x0);
        a0 = tinyml_dot2(even, tinyml_even(w0), a0);
        a0 = tinyml_dot2(odd, tinyml_odd(w0), a0);
        a1 = tinyml_dot2(even, tinyml_even(w1), a1);
        a1 = tinyml_dot2(odd, tinyml_odd(w1), a1);
        a2 = tinyml_dot2(even, tinyml_even(w2), a2);
        a2 = tinyml_dot2(odd, tinyml_odd(w2), a2);
        a3 = tinyml_dot2(even, tinyml_even(w3), a3);
        a3 = tinyml_dot2(odd, tinyml_odd(w3), a3);
#else
        const int32_t x0 = x[0] - zero_point, x1 = x[1] - zero_point;
        const int32_t x2 = x[2] - zero_point, x3 = x[3] - zero_point;
        a0 += x0 * w[0] + x1 * w[1] + x2 * w[2] + x3 * w[3];
        a1 += x0 * w[4] + x1 * w[5] + x2 * w[6] + x3 * w[7];
        a2 += x0 * w[8] + x1 * w[9] + x2 * w[10] + x3 * w[11];
        a3 += x0 * w[12] + x1 * w[13] + x2 * w[14] + x3 * w[15];
#endif
        x += 4;
        w += 16;
    }
    for (k = n & 3; k > 0; --k) {
        const int32_t x0 = *x++ - zero_point;
        a0 += x0 * w[0];
        a1 += x0 * w[1];
        a2 += x0 * w[2];
        a3 += x0 * w[3];
        w += 4;
    }
    acc[0] = a0;
    acc[1] = a1;
    acc[2] = a2;
    acc[3] = a3;
}

TINYML_INLINE void tinyml_mac_2x1(int32_t* acc, const int8_t* x, int32_t step, const int8_t* w, int32_t n,
                                  int32_t zero_point) {
    const int8_t* y = x + step;
    int32_t a0 = acc[0], b0 = acc[1];
    int32_t k;
#if TINYML_DSP
    const uint32_t offset = tinyml_negated_pair(zero_point);
#endif
    for (k = n >> 2; k > 0; --k) {
#if TINYML_DSP
        const uint32_t x0 = tinyml_load_word(x), y0 = tinyml_load_word(y), w0 = tinyml_load_word(w);
        const uint32_t even = tinyml_even(w0), odd = tinyml_odd(w0);
        a0 = tinyml_dot2(tinyml_even_plus(offset, x0), even, a0);
        a0 = tinyml_dot2(tinyml_odd_plus(offset, x0), odd, a0);
        b0 = tinyml_dot2(tinyml_even_plus(offset, y0), even, b0);
        b0 = tinyml_dot2(tinyml_odd_plus(offset, y0), odd, b0);
#else
        const int32_t w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3];
        a0 += (x[0] - zero_point) * w0 + (x[1] - zero_point) * w1;
        a0 += (x[2] - zero_point) * w2 + (x[3] - zero_point) * w3;
        b0 += (y[0] - zero_point) * w0 + (y[1] - zero_point) * w1;
        b0 += (y[2] - zero_point) * w2 + (y[3] - zero_point) * w3;
#endif
        x += 4;
        y += 4;
        w += 4;
    }
    for (k = n & 3; k > 0; --k) {
        const int32_t w0 = *w++;
        a0 += (*x++ - zero_point) * w0;
        b0 += (*y++ - zero_point) * w0;
    }
    acc[0] = a0;
    acc[1] = b0;
}

#define TINYML_STEP_2X2(x_k, y_k, w0_k, w1_k)                                                      \
    do {                                                                                           \
        const int32_t x_ = (x_k)-zero_point, y_ = (y_k)-zero_point, w0_ = (w0_k), w1_ = (w1_k);    \
        a0 += x_ * w0_;                                                                            \
        a1 += x_ * w1_;                                                                            \
        b0 += y_ * w0_;                                                                            \
        b1 += y_ * w1_;                                                                            \
    } while (0)

TINYML_INLINE void tinyml_mac_2x2(int32_t* acc, const int8_t* x, int32_t step, const int8_t* w, int32_t n,
                                  int32_t zero_point) {
    const int8_t* y = x + step;
    int32_t a0 = acc[0], a1 = acc[1], b0 = acc[2], b1 = acc[3];
    int32_t k;
#if TINYML_DSP
    const uint32_t offset = tinyml_negated_pair(zero_point);
#endif
    for (k = n >> 2; k > 0; --k) {
#if TINYML_DSP
        const uint32_t x0 = tinyml_load_word(x), y0 = tinyml_load_word(y);
        const uint32_t w0 = tinyml_load_word(w), w1 = tinyml_load_word(w + 4);
        const uint32_t x_even = tinyml_even_plus(offset, x0), x_odd = tinyml_odd_plus(offset, x0);
        const uint32_t y_even = tinyml_even_plus(offset, y0), y_odd = tinyml_odd_plus(offset, y0);
        const uint32_t w0_even = tinyml_even(w0), w0_odd = tinyml_odd(w0);
        const uint32_t w1_even = tinyml_even(w1), w1_odd = tinyml_odd(w1);
        a0 = tinyml_dot2(x_even, w0_even, a0);
        a0 = tinyml_dot2(x_odd, w0_odd, a0);
        b0 = tinyml_dot2(y_even, w0_even, b0);
        b0 = tinyml_dot2(y_odd, w0_odd, b0);
        a1 = tinyml_dot2(x_even, w1_even, a1);
        a1 = tinyml_dot2(x_odd, w1_odd, a1);
        b1 = tinyml_dot2(y_even, w1_even, b1);
        b1 = tinyml_dot2(y_odd, w1_odd, b1);
#else
        TINYML_STEP_2X2(x[0], y[0], w[0], w[4]);
        TINYML_STEP_2X2(x[1], y[1], w[1], w[5]);
        TINYML_STEP_2X2(x[2], y[2], w[2], w[6]);
        TINYML_STEP_2X2(x[3], y[3], w[3], w[7]);
#endif
        x += 4;
        y += 4;
        w += 8;
    }
    for (k = n & 3; k > 0; --k) {
        TINYML_STEP_2X2(*x++, *y++, w[0], w[1]);
        w += 2;
    }
    acc[0] = a0;
    acc[1] = a1;
    acc[2] = b0;
    acc[3] = b1;
}
#undef TINYML_STEP_2X2

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

/* acc[c] += (x[c] - zero_point) * w[c] for four channels: one tap of a depthwise convolution. */
TINYML_INLINE void tinyml_mac_channels_4(int32_t* acc, const int8_t* x, const int8_t* w, int32_t zero_point) {
#if TINYML_DSP
    const uint32_t offset = tinyml_negated_pair(zero_point);
    const uint32_t x_word = tinyml_load_word(x), w_word = tinyml_load_word(w);
    const uint32_t x_even = tinyml_even_plus(offset, x_word), x_odd = tinyml_odd_plus(offset, x_word);
    const uint32_t w_even = tinyml_even(w_word), w_odd = tinyml_odd(w_word);
    acc[0] = tinyml_mac_low(x_even, w_even, acc[0]);
    acc[1] = tinyml_mac_low(x_odd, w_odd, acc[1]);
    acc[2] = tinyml_mac_high(x_even, w_even, acc[2]);
    acc[3] = tinyml_mac_high(x_odd, w_odd, acc[3]);
#else
    acc[0] += (x[0] - zero_point) * w[0];
    acc[1] += (x[1] - zero_point) * w[1];
    acc[2] += (x[2] - zero_point) * w[2];
    acc[3] += (x[3] - zero_point) * w[3];
#endif
}

TINYML_INLINE void tinyml_mac_channels_1(int32_t* acc, const int8_t* x, const int8_t* w, int32_t zero_point) {
    acc[0] += (x[0] - zero_point) * w[0];
}

/* ---------------------------------------------------------------- moving rows */

/* One row of a window: `before` and `after` bytes of padding around n bytes of the image. */
TINYML_INLINE void tinyml_gather(int8_t* to, const int8_t* from, int32_t before, int32_t n, int32_t after,
                                 int32_t padding) {
    memset(to, padding, (size_t)before);
    memcpy(to + before, from, (size_t)n);
    memset(to + before + n, padding, (size_t)after);
}

/*
 * Bytes from an input's pointer to column 0 of row r: rows before new_row lie in places of a ring, or dealt out to
 * modulus places; the others in a staging buffer.
 */
TINYML_INLINE int32_t tinyml_row_offset(int32_t r, int32_t first, int32_t modulus, int32_t outer, int32_t inner,
                                        int32_t staged, int32_t line, int32_t new_row) {
    return r >= new_row ? staged + (r - new_row) * line
                        : first + (r % modulus) * outer + (r / modulus) * inner;
}

/* Larger helpers of the C around micro-kernels: functions of their own. */
#if defined(__GNUC__)
#define TINYML_SHARED static __attribute__((noinline, unused))
#else
#define TINYML_SHARED static
#endif

/* An input whose rows lie where tinyml_row_offset says. */
typedef struct {
    const int8_t* data;
    int32_t first, modulus, outer, inner, staged, line, new_row;
} tinyml_rows;

TINYML_SHARED const int8_t* tinyml_row(const tinyml_rows* x, int32_t r) {
    return x->data + tinyml_row_offset(r, x->first, x->modulus, x->outer, x->inner, x->staged, x->line, x->new_row);
}

/*
 * What micro-kernels know of a convolution, in front of its packed weights. Sizes, strides and padding are in rows and
 * columns.
 */
typedef struct {
    int32_t pair_bytes;   /* of the packed weights of all whole pairs of output channels */
    int32_t addend;       /* of signed requantization; of outputs counted from zero what makes them outputs */
    int32_t out_channels;
    int32_t groups;       /* input values of an output / 4, rounded up */
    int32_t step;         /* bytes between the windows of neighbouring outputs */
    int32_t run_bytes;    /* of the whole words of a row of taps */
    int32_t kernel_h;
    int32_t rest_bits;    /* a run's last word holds that many bits too many, unless 0 */
    int16_t height, width, channels, columns;
    int16_t kernel_w, stride_h, stride_w, top, left, zero_point;
    int16_t pixels;       /* most outputs of a tile */
    int16_t strip;        /* outputs whose input is copied at a time */
} tinyml_conv;

/* The same of a depthwise convolution. Bytes: of a channel's constants, of a plane and of what one row pair takes of it. */
typedef struct {
    int16_t height, width, channels, columns, stride_h, stride_w, top, left, zero_point, strip;
    int16_t kernel_h, kernel_w, tile, record_bytes, plane_bytes, pair_bytes;
    int16_t from_zero[2]; /* bytes that make outputs of what counts from the lower clamp */
} tinyml_depthwise;

/* What the functions for a strip of columns, four channels at a time, need to know. */
typedef struct tinyml_strip tinyml_strip;
typedef void tinyml_depthwise_fill(const tinyml_strip* strip, uint32_t* planes, int32_t offset);
typedef void tinyml_depthwise_sum(uint32_t* planes, const int32_t* constants, int8_t* out, const tinyml_strip* strip);
struct tinyml_strip {
    int32_t channels;
    uint32_t zero;              /* four zero points */
    int32_t missing;            /* bit i: row i of the taps is outside the image */
    int32_t zero_pair;          /* 256 * the zero point, in both halfwords */
    int32_t outputs;            /* in the strip */
    int32_t turns;              /* of the main loop, and a last one that makes all its outputs, or one of two */
    int32_t odd;
    int32_t plane_bytes;
    int32_t tiles[2];           /* large ones, small ones */
    int32_t pairs;              /* of rows of taps, not wholly outside */
    int32_t skip;               /* bytes of a plane between pairs */
    int32_t offset;             /* of the first column inside the image and the first channel, from a row's pointer */
    int32_t groups;             /* of four channels */
    tinyml_depthwise_fill* fill;
    const int8_t* const* rows;
    uint32_t from_zero[2];      /* four of either byte */
    int32_t step;               /* bytes of a plane from one output's columns to the next's */
    int32_t spans[32];          /* see tinyml_spans */
};

/*
 * Columns first .. first + needed - 1 of an image as pairs, the last one filled up: (kind, how many) until there are
 * none. Kind: bit i if column i of the pair is inside the image; at least one column is.
 */
TINYML_SHARED void tinyml_spans(int32_t* spans, int32_t first, int32_t needed, int32_t width) {
    const int32_t begin = first < 0 ? -first : 0;
    const int32_t end = needed < width - first ? needed : width - first;
    int32_t g = 0;
    for (; 2 * g + 1 < begin; ++g) {
        *spans++ = 0;
        *spans++ = 1;
    }
    if (2 * g < begin) {
        *spans++ = 2;
        *spans++ = 1;
        ++g;
    }
    if (2 * g + 1 < end) {
        *spans++ = 3;
        *spans++ = end / 2 - g;
        g = end / 2;
    }
    if (2 * g < end) {
        *spans++ = 1;
        *spans++ = 1;
        ++g;
    }
    for (; 2 * g < needed; ++g) {
        *spans++ = 0;
        *spans++ = 1;
    }
    spans[0] = 0;
    spans[1] = 0;
}

typedef void tinyml_fill_tile(const int8_t* const* rows, uint32_t* x, int32_t offset, const tinyml_conv* conv);
typedef void tinyml_multiply_tile(const int8_t* stream, const uint32_t* x, int8_t* out, const tinyml_conv* conv);

/* The functions for tiles of 1 to 4 outputs: preparing input; all pairs of output channels, an odd last one. */
typedef struct {
    tinyml_fill_tile* fill[4];
    tinyml_multiply_tile *pairs[4], *single[4];
} tinyml_tiles;

/* Outputs of the next tile when so many are left: as even as possible. */
TINYML_INLINE int32_t tinyml_tile(int32_t left, int32_t largest) {
    return left >= 2 * largest ? largest : left > largest ? (left + 1) / 2 : left;
}

TINYML_INLINE void tinyml_copy(int8_t* to, const int8_t* from, int32_t n) {
    memcpy(to, from, (size_t)n);
}

TINYML_INLINE void tinyml_fill(int8_t* to, int32_t value, int32_t n) {
    memset(to, value, (size_t)n);
}

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

/* ---------------------------------------------------------------- pools */

/* sum / count rounded half away from zero. */
TINYML_INLINE int32_t tinyml_average(int32_t sum, int32_t count) {
    return (sum > 0 ? sum + count / 2 : sum - count / 2) / count;
}

/* ---------------------------------------------------------------- resize */

/*
 * TFLite Micro's integer bilinear interpolation of four corners (top left, top right, bottom left, bottom right);
 * dy and dx are in 1/1024 of a pixel.
 */
TINYML_INLINE int32_t tinyml_bilinear_sum(int32_t tl, int32_t tr, int32_t bl, int32_t br, int32_t dy, int32_t dx) {
    return (tl * (1024 - dx) + tr * dx) * (1024 - dy) + (bl * (1024 - dx) + br * dx) * dy;
}

/* sum / 2**20 rounded half away from zero. */
TINYML_INLINE int32_t tinyml_bilinear(int32_t tl, int32_t tr, int32_t bl, int32_t br, int32_t dy, int32_t dx) {
    const int32_t sum = tinyml_bilinear_sum(tl, tr, bl, br, dy, dx);
    return (int8_t)((sum + (sum > 0 ? 1 << 19 : -(1 << 19))) / (1 << 20));
}

/* ---------------------------------------------------------------- float edges */

/* round(x / scale) + zero_point, halves away from zero, saturated to low..high; not-a-number gives the zero point. */
TINYML_INLINE int32_t tinyml_quantize(float x, float scale, int32_t zero_point, int32_t low, int32_t high) {
    const float q = x / scale;
#if TINYML_ROUND
    float whole;
    int32_t rounded;
    /* Converts halves away from zero, saturates, and makes 0 of not-a-number. */
    __asm("vcvta.s32.f32 %0, %1" : "=t"(whole) : "t"(q));
    memcpy(&rounded, &whole, sizeof rounded);
    return tinyml_clamp(rounded, low - zero_point, high - zero_point) + zero_point;
#else
    int32_t whole;
    float rest;
    /* 2**24: beyond it every result saturates, below it the conversions are exact. */
    if (q >= 16777216.0F) {
        return high;
    }
    if (q <= -16777216.0F) {
        return low;
    }
    if (!(q == q)) {
        return tinyml_clamp(zero_point, low, high);
    }
    whole = (int32_t)q;
    rest = q - (float)whole;
    whole += (rest >= 0.5F ? 1 : 0) - (rest <= -0.5F ? 1 : 0);
    return tinyml_clamp(whole + zero_point, low, high);
#endif
}

TINYML_INLINE float tinyml_dequantize(int32_t x, float scale, int32_t zero_point) {
    return (float)(x - zero_point) * scale;
}

/* ---------------------------------------------------------------- softmax */

/* exp(x) for x <= 0: Q5.26 to Q0.31, as gemmlowp's exp_on_negative_values computes it. */
TINYML_INLINE int32_t tinyml_exp(int32_t x) {
    static const int32_t powers[7] = {1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242};
    const int32_t quarter = 1 << 24;
    int32_t part, t, t2, polynomial, result, remainder, i;
    if (x == 0) {
        return INT32_MAX;
    }
    /* exp(part) with -1/4 <= part < 0 from its Taylor series around -1/8 ... */
    part = (x & (quarter - 1)) - quarter;
    t = part * 32 + (1 << 28);
    t2 = tinyml_multiply_q31(t, t);
    polynomial = tinyml_divide_power_of_two(tinyml_multiply_q31(t2, t2), 2) + tinyml_multiply_q31(t2, t);
    polynomial = tinyml_divide_power_of_two(tinyml_multiply_q31(polynomial, 715827883) + t2, 1);
    result = 1895147668 + tinyml_multiply_q31(1895147668, t + polynomial);
    /* ... times exp(-1/4), exp(-1/2), exp(-1) ... exp(-16) for every bit set in the rest. */
    remainder = part - x;
    for (i = 0; i < 7; ++i) {
        if ((remainder & (1 << (24 + i))) != 0) {
            result = tinyml_multiply_q31(result, powers[i]);
        }
    }
    return result;
}

/* 1 / (1 + x) for 0 <= x < 1, both Q0.31: three Newton steps, as gemmlowp's one_over_one_plus_x_for_x_in_0_1. */
TINYML_INLINE int32_t tinyml_reciprocal_one_plus(int32_t x) {
    const int32_t half_denominator = (int32_t)(((int64_t)x + INT32_MAX + 1) / 2);
    int32_t y = 1515870810 + tinyml_multiply_q31(half_denominator, -1010580540);
    int32_t i;
    for (i = 0; i < 3; ++i) {
        const int32_t rest = (1 << 29) - tinyml_multiply_q31(half_denominator, y);
        y += tinyml_multiply_power_of_two(tinyml_multiply_q31(y, rest), 2);
    }
    return tinyml_multiply_power_of_two(y, 1);
}

/* Softmax of n values; out may be x. */
TINYML_INLINE void tinyml_softmax(const int8_t* x, int8_t* out, int32_t n, int32_t multiplier, int32_t left_shift,
                                  int32_t diff_min) {
    int32_t largest = -128, sum = 0, headroom, scale, exponent, pass, i;
    for (i = 0; i < n; ++i) {
        largest = x[i] > largest ? x[i] : largest;
    }
    scale = 0;
    exponent = 0;
    for (pass = 0; pass < 2; ++pass) {
        for (i = 0; i < n; ++i) {
            const int32_t diff = x[i] - largest;
            int32_t value = -128;
            if (diff >= diff_min) {
                const int32_t scaled = tinyml_multiply_q31(tinyml_shift_left(diff, left_shift), multiplier);
                const int32_t exp_q31 = tinyml_exp(scaled);
                if (pass == 0) {
                    sum += tinyml_divide_power_of_two(exp_q31, 12);
                } else {
                    value += tinyml_divide_power_of_two(tinyml_multiply_q31(scale, exp_q31), exponent);
                    value = tinyml_clamp(value, -128, 127);
                }
            }
            if (pass == 1) {
                out[i] = (int8_t)value;
            }
        }
        if (pass == 0) {
            /* The sum is Q12.19 and at least 1; scale it to 1 + fraction. */
            headroom = tinyml_leading_zeros((uint32_t)sum);
            scale = tinyml_reciprocal_one_plus((int32_t)(((uint32_t)sum << headroom) - 0x80000000U));
            exponent = 12 - headroom + 31 - 8;
        }
    }
}

#endif /* TVM_TINY_KERNELS_H */
