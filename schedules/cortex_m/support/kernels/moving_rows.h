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
    int32_t spans[5];           /* see tinyml_spans */
};

/*
 * Columns first .. first + needed - 1 of an image as pairs, the last one filled up: how many are in front of the image;
 * one of which the right column is inside, or none; how many are inside; one of which the left column is; how many are
 * behind it. At least one column is inside.
 */
TINYML_INLINE void tinyml_spans(int32_t* spans, int32_t first, int32_t needed, int32_t width) {
    const int32_t begin = first < 0 ? -first : 0;
    const int32_t end = needed < width - first ? needed : width - first;
    const int32_t front = (begin + 1) >> 1, behind = (end + 1) >> 1;
    spans[0] = begin >> 1;
    spans[1] = begin & 1;
    spans[2] = end >> 1 > front ? (end >> 1) - front : 0;
    spans[3] = end >> 1 >= front ? end & 1 : 0;
    spans[4] = ((needed + 1) >> 1) - (behind > front ? behind : front);
}

/* Whether the left (0) or the right column (1) of the pairs that spans[i] counts is inside the image. */
TINYML_INLINE int32_t tinyml_inside(int32_t i, int32_t column) {
    return i == 2 || i == (column ? 1 : 3);
}

typedef void tinyml_fill_tile(const int8_t* const* rows, uint32_t* x, int32_t offset, const tinyml_conv* conv);
typedef void tinyml_multiply_tile(const int8_t* stream, const uint32_t* x, int8_t* out, const tinyml_conv* conv);

/* The functions for tiles of 1 to 5 outputs: preparing input; all pairs of output channels, an odd last one. */
typedef struct {
    tinyml_fill_tile* fill[5];
    tinyml_multiply_tile *pairs[5], *single[5];
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
