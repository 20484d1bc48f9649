/* ---------------------------------------------------------------- pools */

/* sum / count rounded half away from zero. */
TINYML_INLINE int32_t tinyml_average(int32_t sum, int32_t count) {
    return (sum > 0 ? sum + count / 2 : sum - count / 2) / count;
}

/* Four channels' values onto sums in halfwords: channels 0 and 2, channels 1 and 3. */
TINYML_INLINE void tinyml_add_word(int32_t* pairs, const int8_t* x) {
    const uint32_t even = (uint32_t)pairs[0], odd = (uint32_t)pairs[1];
#if TINYML_DSP
    const uint32_t word = tinyml_load_word(x);
    pairs[0] = (int32_t)tinyml_even_plus(even, word);
    pairs[1] = (int32_t)tinyml_odd_plus(odd, word);
#else
    pairs[0] = (int32_t)tinyml_pair(tinyml_low(even) + x[0], tinyml_high(even) + x[2]);
    pairs[1] = (int32_t)tinyml_pair(tinyml_low(odd) + x[1], tinyml_high(odd) + x[3]);
#endif
}

/* Such sums onto those of four channels. */
TINYML_INLINE void tinyml_add_pairs(int32_t* sums, const int32_t* pairs) {
    sums[0] += (int16_t)pairs[0];
    sums[1] += (int16_t)pairs[1];
    sums[2] += pairs[0] >> 16;
    sums[3] += pairs[1] >> 16;
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
