/* ---------------------------------------------------------------- requantization of Armv6-M */

/*
 * A channel's row of constants: bias, multiplier (upper piece * 2**16 + lower piece of 12 bits), the least x with the
 * highest output, addend of x > 0. Where the output of x <= 0 is not always `low`, is_signed, two more: the least x with
 * more than the lowest output, addend of x <= 0. (schedules/cortex_m/split_scale.py)
 */
TINYML_INLINE int32_t tinyml_scale_split(int32_t x, const int32_t* row, int is_signed, int32_t shift, int32_t low,
                                         int32_t high) {
    const uint32_t upper = (uint32_t)row[1] >> 16, lower = (uint32_t)row[1] & 0xFFFFU;
    if (x <= 0) {
        if (!is_signed || x < row[4]) {
            return low;
        }
        return (x * (int32_t)upper + (x * (int32_t)lower >> 12) + row[5]) >> shift;
    }
    if (x > row[2]) {
        return high;
    }
    return ((int32_t)((uint32_t)x * upper + ((uint32_t)x * lower >> 12)) + row[3]) >> shift;
}

#if TINYML_ARMV6M
/*
 * Assembly that tiles of pixels share. A naked function of (r0, r1, r2, r3, length, channels, pitch, shift, low, high)
 * finds these on the stack: 0 and 4 are its own, 8 r0, 12 r1, 16 r2, 20 r3, 60 length, and so on up to 80 high.
 */
#define TINYML_TILE_ENTER                                                                          \
    ".syntax unified\n\tpush {r4, r5, r6, r7, lr}\n\tmov r4, r8\n\tmov r5, r9\n\tmov r6, r10\n\t"   \
    "mov r7, r11\n\tpush {r4, r5, r6, r7}\n\tpush {r0, r1, r2, r3}\n\tsub sp, #8\n\t"
#define TINYML_TILE_LEAVE                                                                          \
    "add sp, #24\n\tpop {r4, r5, r6, r7}\n\tmov r8, r4\n\tmov r9, r5\n\tmov r10, r6\n\tmov r11, r7\n\t" \
    "pop {r4, r5, r6, r7, pc}\n\t"

/* From the row at [sp, #at]: r2 and r3 the pieces of the multiplier, r4 the shift, r5 the addend, lr the limit. */
#define TINYML_SCALE_LOAD(at)                                                                      \
    "ldr r6, [sp, #" #at "]\n\tldmia r6!, {r2, r3, r4, r5}\n\tstr r6, [sp, #" #at "]\n\tmov lr, r4\n\t" \
    "ldr r4, [sp, #72]\n\tlsrs r2, r3, #16\n\tuxth r3, r3\n\t"
#define TINYML_SCALE_LOAD_SIGNED(at)                                                               \
    "ldr r6, [sp, #" #at "]\n\tldmia r6!, {r2, r3, r4, r5}\n\tmov lr, r4\n\tldmia r6!, {r2, r4}\n\t" \
    "str r6, [sp, #" #at "]\n\tstr r2, [sp]\n\tstr r4, [sp, #4]\n\t"                               \
    "ldr r4, [sp, #72]\n\tlsrs r2, r3, #16\n\tuxth r3, r3\n\t"

/* Requantizes register x (r0 is lost); number i of the function. */
#define TINYML_SCALE(x, i)                                                                         \
    "cmp " #x ", #0\n\tble 1" #i "f\n\tcmp " #x ", lr\n\tbgt 2" #i "f\n\tmov r0, " #x "\n\tmuls r0, r3\n\t" \
    "lsrs r0, #12\n\tmuls " #x ", r2\n\tadds " #x ", r0\n\tadds " #x ", r5\n\tasrs " #x ", r4\n3" #i ":\n\t"
/* What is seldom: behind the function's last jump. */
#define TINYML_SCALE_REST(x, i)                                                                    \
    "1" #i ":\n\tldr " #x ", [sp, #76]\n\tb 3" #i "b\n2" #i ":\n\tldr " #x ", [sp, #80]\n\tb 3" #i "b\n\t"
#define TINYML_SCALE_REST_SIGNED(x, i)                                                             \
    "1" #i ":\n\tldr r0, [sp]\n\tcmp " #x ", r0\n\tblt 4" #i "f\n\tmov r0, " #x "\n\tmuls r0, r3\n\tasrs r0, #12\n\t" \
    "muls " #x ", r2\n\tadds " #x ", r0\n\tldr r0, [sp, #4]\n\tadds " #x ", r0\n\tasrs " #x ", r4\n\tb 3" #i "b\n" \
    "4" #i ":\n\tldr " #x ", [sp, #76]\n\tb 3" #i "b\n2" #i ":\n\tldr " #x ", [sp, #80]\n\tb 3" #i "b\n\t"
#endif
