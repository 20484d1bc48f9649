/* ---------------------------------------------------------------- multiply-accumulate */

/*
 * tinyml_mac_<pixels>x<channels>: acc[p * channels + c] += sum over k < n of (x[p * step + k] - zero_point) * w[c][k].
 * Weights come in blocks of four k: w[k / 4][c][k % 4]; the last n % 4 as w[c] per k.
 */

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
