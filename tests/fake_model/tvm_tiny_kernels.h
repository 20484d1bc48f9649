/* Stands in for the real support header: only what a project needs of it. */
#ifndef TVM_TINY_KERNELS_H
#define TVM_TINY_KERNELS_H

#if defined(TINYML_MARK)
#elif defined(TINYML_PROFILE) && defined(__arm__)
#define TINYML_MARK(i)                                                                                          \
  __asm volatile("0:\n.pushsection .tinyml_marks,\"a\",%%progbits\n.balign 4\n.word 0b, %c0\n.popsection" ::"i"(i))
#else
#define TINYML_MARK(i) ((void)0)
#endif

#endif
