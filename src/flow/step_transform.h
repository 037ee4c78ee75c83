/*
 * Transform steps: a function of transforms.def, or any function of expressions, applied to the values that `inputs`
 * names.
 *
 * An entry of `inputs` that holds a template is the value that it gives. Every other one is a name: an output of a step
 * that this one depends on, an input (or `item` and `index` in a loop), an output of any other step, the id of a step,
 * or a path such as steps.a.text. One name may stand without a list.
 *
 * Work and size are bounded as those of expressions are. No I/O; the step ends before it returns.
 */
#ifndef SL_FLOW_STEP_TRANSFORM_H
#define SL_FLOW_STEP_TRANSFORM_H

#include "src/flow/step.h"

/*
 * What the step gives. `params` are the rendered ones. Errors: SL_EINVAL, SL_EPARSE (with `fault`), SL_ETOOBIG,
 * SL_ENOMEM. The caller holds a reference.
 */
SL_MUST_CHECK int sl_transform_run(const sl_step *step, json_t *params, json_t *context, json_t **ret_value,
                                   sl_flow_fault *fault);

/* Every function that this file has itself: for the test that compares it with transforms.def. NULL beyond the last. */
const char *sl_transform_name(size_t index);

#endif
