/*
 * Runs and their events as clients of llama-agents read them (its WorkflowServer 0.8): a run is a handler, an event an
 * envelope {"value","qualified_name","type","types"}. Pure: rows and events in, JSON out.
 *
 * What a run says of its steps has types of its own (StepStartedEvent, ...) with the event of GET /runs/{id}/events as
 * value; asked for internal events, a client also gets the engine's own StepStateChanged. A run ends with StopEvent,
 * WorkflowFailedEvent, WorkflowTimedOutEvent or WorkflowCancelledEvent.
 *
 * Every function gives a new reference; NULL: no memory, unless it says more.
 */
#ifndef SL_FLOW_AGENTS_VIEW_H
#define SL_FLOW_AGENTS_VIEW_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/base/str.h"
#include "src/flow/model.h"

/* A run as it lies in the store. Views are borrowed. */
typedef struct sl_agents_row {
    sl_str handler, run, workflow, status, error, error_type;
    sl_str outputs; /* JSON object, or empty */
    uint64_t created_ns, started_ns, ended_ns;
    sl_str failed_step; /* path; empty: none */
    uint64_t failed_attempts, failed_ns;
    sl_str stopped_steps; /* JSON list of paths that had begun when the run was ended from outside */
} sl_agents_row;

/* "running", "completed", "failed", "cancelled" of a run's status. Static. */
const char *sl_agents_status(sl_str status);
/* The opposite, as it lies in the store; a list, as "running" is two. Static; NULL: no such status. */
const char *sl_agents_stored_statuses(sl_str status);
/* HandlerData. */
json_t *sl_agents_handler(const sl_agents_row *row);
/* The last event of a run that has ended. */
json_t *sl_agents_stop(const sl_agents_row *row);
/* An event of the run; NULL for its end too, which is said by sl_agents_stop. */
json_t *sl_agents_event(json_t *event);
/* What stands before it for those who ask for internal events; NULL: nothing. */
json_t *sl_agents_internal(json_t *event);

/* What clients number: two for each event, the second one is public. `after` as clients give it, -1: from the first. */
int64_t sl_agents_public(uint64_t seq);
int64_t sl_agents_hidden(uint64_t seq);
/* The last event of which nothing is to be said any more. */
uint64_t sl_agents_seq_before(int64_t after);

/* ---- agents_schema.c ---- */

/* JSON schema of the event that starts a workflow (its properties are the inputs that the file reads), and ends it. */
json_t *sl_agents_start_schema(const sl_flow *flow);
json_t *sl_agents_stop_schema(void);
/* All events of a workflow, of those two first. */
json_t *sl_agents_event_schemas(const sl_flow *flow);
/* {"name","nodes","edges","description"}: steps, those within steps too, and what each comes after. */
json_t *sl_agents_graph(const sl_flow *flow);

/*
 * The inputs of a request's start event, {"message": "hi"} or an envelope, also as text. Borrowed parts are kept by the
 * result. NULL: `why` (512 bytes) says what is wrong with it.
 */
json_t *sl_agents_inputs(json_t *start_event, char *why);

#endif
