/*
 * tvm-tiny: what the generated kernels call.
 *
 * C99, also valid C++. Needs nothing but the three headers below. Everything is static inline: a program carries what it
 * uses. On cores with SIMD instructions (TINYML_DSP), with vectors (TINYML_MVE) and on Armv6-M (TINYML_ARMV6M) a few
 * functions are inline assembly; every one of them has a plain-C twin with the same result, which is what runs on a host.
 * The source tree has the parts as files of their own, a compiled model has them all in this one.
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

#include "kernels/platform.h"
#include "kernels/requantization.h"
#include "kernels/vectors.h"
#include "kernels/lanes.h"
#include "kernels/products.h"
#include "kernels/split_scale.h"
#include "kernels/pixel_pairs.h"
#include "kernels/moving_rows.h"
#include "kernels/depthwise_taps.h"
#include "kernels/layers.h"

#endif /* TVM_TINY_KERNELS_H */
