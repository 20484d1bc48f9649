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
