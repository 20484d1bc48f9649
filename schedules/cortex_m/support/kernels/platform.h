/* ---------------------------------------------------------------- compilers and cores */

#if defined(__GNUC__)
#define TINYML_INLINE static inline __attribute__((always_inline, unused))
#define TINYML_ALIGNED(n) __attribute__((aligned(n)))
/* Kernels stay functions: inlined into the main loop they would share their registers with it. And one function for
 * all calls: what a kernel takes must not depend on who else is in the program. */
#if defined(__clang__)
#define TINYML_KERNEL __attribute__((noinline))
#else
#define TINYML_KERNEL __attribute__((noinline, noclone))
#endif
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
#if (TINYML_DSP || TINYML_ARMV6M) && defined(__clang__)
#define TINYML_NAKED static __attribute__((naked, noinline, unused))
#elif TINYML_DSP || TINYML_ARMV6M
#define TINYML_NAKED static __attribute__((naked, noipa, unused))
#endif
#if TINYML_DSP || TINYML_ARMV6M
#define TINYML_UNUSED __attribute__((unused))
#endif

#if defined(__GNUC__) && defined(__ARM_FEATURE_SAT) && defined(__arm__) && !defined(TINYML_PORTABLE)
#define TINYML_SAT 1
#else
#define TINYML_SAT 0
#endif

/*
 * TINYML_MARK(i): layer i starts here (-1: the network has ended). Costs no instruction. A profiling build
 * (TINYML_PROFILE) keeps pairs of (address of the instruction, layer) in the section .tinyml_marks. A macro of one's own
 * takes its place.
 */
#if defined(TINYML_MARK)
#elif defined(TINYML_PROFILE) && defined(__GNUC__) && defined(__arm__)
#define TINYML_MARK(i)                                                                             \
    __asm volatile("0:\n\t.pushsection .tinyml_marks,\"a\",%%progbits\n\t.balign 4\n\t"            \
                   ".word 0b, %c0\n\t.popsection" ::"i"(i)                                         \
                   : "memory")
#else
#define TINYML_MARK(i) ((void)0)
#endif

/*
 * TINYML_OBSERVE(i, output, row, skip, offset, size): layer i has just written bytes [offset, offset + size) of one of its
 * outputs, `skip` bytes behind `row`. Nothing but in a build that looks at every layer (TINYML_OBSERVED), whose firmware
 * defines the function.
 */
#if defined(TINYML_OBSERVED)
#ifdef __cplusplus
extern "C"
#endif
    void tinyml_observe(int32_t layer, int32_t output, const void* data, int32_t offset, int32_t size);
#define TINYML_OBSERVE(i, output, row, skip, offset, size) \
  tinyml_observe(i, output, (const uint8_t*)(row) + (skip), offset, size)
#else
#define TINYML_OBSERVE(i, output, row, skip, offset, size) ((void)0)
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
