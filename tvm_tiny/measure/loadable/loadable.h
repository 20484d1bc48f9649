/* Included before all of the model's C: its marks tell where a layer begins. */
#ifndef TVM_TINY_LOADABLE_H
#define TVM_TINY_LOADABLE_H

#include <stdint.h>

void loadable_mark(int32_t layer);
#define TINYML_MARK(i) loadable_mark(i)

#endif
