/* The table of actions, for those who print it. */
#ifndef SL_FLOW_ACTIONS_H
#define SL_FLOW_ACTIONS_H

#include "src/base/str.h"

typedef struct sl_step_try sl_step_try;

typedef struct sl_action {
    const char *name;
    const char *params; /* "url, body?, secret?" */
    const char *help;
    void (*start)(sl_step_try *attempt);
} sl_action;

/* All actions, by name. Static. */
const sl_action *sl_actions(size_t *ret_count);
/* NULL when there is none of that name. */
const sl_action *sl_action_find(sl_str name);

#endif
