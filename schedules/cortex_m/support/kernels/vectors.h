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
