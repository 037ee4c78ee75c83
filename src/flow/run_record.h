/*
 * Durable runs: what the executor tells the store, and runs that go on after a restart. Everything on the loop's
 * thread.
 */
#ifndef SL_FLOW_RUN_RECORD_H
#define SL_FLOW_RUN_RECORD_H

#include "src/flow/executor_impl.h"
#include "src/store/run_store.h"

/* Only for runs with `durable`. */
void sl_run_record_started(const sl_flow_run *run);
void sl_run_record_step(const sl_node *node, const char *path);
void sl_run_record_event(const sl_flow_run *run, const sl_flow_event *event);
void sl_run_record_ended(const sl_flow_run *run);

#endif
