/* Handlers of llama-agents as the flow plane keeps them: which run a client's name stands for, and how it is read. */
#ifndef SL_FLOW_SERVER_AGENTS_H
#define SL_FLOW_SERVER_AGENTS_H

#include <jansson.h>

#include "src/flow/server_impl.h"

/* A handler that is there. */
typedef struct sl_agents_found {
    char run[SL_FLOW_ID_MAX];
    bool over, worker;
    json_t *handler; /* HandlerData; whoever asked holds the reference */
} sl_agents_found;
/* By the name that a client gave, or a run's id. Errors: SL_ENOENT, SL_EIO. */
SL_MUST_CHECK int sl_agents_find(sl_flow_server *server, sl_str id, sl_agents_found *ret_found);
/* Of lists of stored statuses and of workflows, oldest first; a list of NULL: all. NULL: SL_EIO, or no memory. */
json_t *sl_agents_list(sl_flow_server *server, json_t *statuses, json_t *workflows);
/* The last event of a run; NULL: it has not ended, as far as the disk knows. Errors: SL_ENOENT, SL_EIO, SL_ENOMEM. */
SL_MUST_CHECK int sl_agents_end(sl_flow_server *server, sl_str run, json_t **ret_end);
/* Numbers of its last event on disk, and of the one that ends it, or will. */
SL_MUST_CHECK int sl_agents_numbers(sl_flow_server *server, sl_str run, int64_t *ret_last, int64_t *ret_end);
/* A client's name for a run that is being made. */
void sl_agents_name(sl_flow_server *server, sl_str handler, sl_str run);
/* Removes a handler and all its runs that have ended. Errors: SL_ENOMEM; then `done` never comes. */
SL_MUST_CHECK int sl_agents_purge(sl_flow_server *server, sl_str handler, void (*done)(void *user, int error),
                                  void *user);
/* Names of runs that are not kept any more go. */
void sl_agents_forget(sl_flow_server *server);

#endif
