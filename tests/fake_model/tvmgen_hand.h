#ifndef TVMGEN_HAND_H
#define TVMGEN_HAND_H

#include <stdint.h>

#define TVMGEN_HAND_N_SIZE 1
#define TVMGEN_HAND_OUT_SIZE 1

struct tvmgen_hand_inputs {
  void* n;
};

struct tvmgen_hand_outputs {
  void* out;
};

int32_t tvmgen_hand_run(struct tvmgen_hand_inputs* inputs, struct tvmgen_hand_outputs* outputs);

#endif
