/* In place of a model, where the firmware is only for what the host loads. */
#include "link.h"

static int32_t refuse(void) { return -1; }

struct link_buffer model_inputs[1], model_outputs[1];
const uint32_t model_info[] = {0, 0, 0};
const uint32_t model_info_bytes = sizeof model_info;
const char model_name[] = "";
const uint32_t model_name_bytes = 0;
struct model_call model_call = {(void (*)(void))refuse, {0}};
int32_t model_run(void) { return refuse(); }
void model_begin(void) {}
void model_map(void) {}
