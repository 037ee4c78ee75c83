/* The memory of a workflow: for load*.c alone. */
#ifndef SL_FLOW_MODEL_IMPL_H
#define SL_FLOW_MODEL_IMPL_H

#include "src/base/arena.h"
#include "src/flow/model.h"

/* An empty one with one reference; NULL without memory. */
sl_flow *sl_flow_new(void);
/* Where its texts and arrays lie. */
sl_arena *sl_flow_arena(sl_flow *flow);

#endif
