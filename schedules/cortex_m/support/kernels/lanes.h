/* ---------------------------------------------------------------- lanes of words */

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
