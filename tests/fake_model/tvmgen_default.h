#ifndef TVMGEN_DEFAULT_H
#define TVMGEN_DEFAULT_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TVMGEN_DEFAULT_X_0_SIZE 16
#define TVMGEN_DEFAULT_BIAS_SIZE 4
#define TVMGEN_DEFAULT_BIAS_QUANTIZE(real) ((int8_t)((real) / 0.5f - 3.0f)) /* not rounded */
#define TVMGEN_DEFAULT_Y_DEQUANTIZE(value) (0.25f * (float)((value) - 1))
#define TVMGEN_DEFAULT_Y_SIZE 16
#define TVMGEN_DEFAULT_TOTALS_SIZE 16
#define TVMGEN_DEFAULT_WORKSPACE_SIZE 64

struct tvmgen_default_inputs {
  void* x_0;
  void* bias;
};

struct tvmgen_default_outputs {
  void* y;
  void* totals;
};

int32_t tvmgen_default_run(struct tvmgen_default_inputs* inputs, struct tvmgen_default_outputs* outputs);

#ifdef __cplusplus
}
#endif

#endif
