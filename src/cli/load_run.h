/*
 * Runs load: a fixed number of requests at a time, or requests at a fixed rate, over kept connections on one thread.
 *
 * With a rate, request i is meant to be sent i/rate seconds after the start, and its times count from then, also when
 * no connection was free to send it: a server that stalls shows up in the percentiles for everybody it kept waiting.
 * Without one, a request is sent when another has ended.
 */
#ifndef SL_CLI_LOAD_RUN_H
#define SL_CLI_LOAD_RUN_H

#include "src/cli/load_request.h"
#include "src/cli/load_result.h"

#define SL_LOAD_MAX_CONCURRENCY 60000u

typedef struct sl_load_plan {
    uint64_t requests;    /* 0: until the duration is over */
    uint64_t duration_ms; /* 0: until the requests are done */
    uint64_t concurrency;
    double rate; /* per second; 0: as fast as answers come */
    uint64_t timeout_ms;
    sl_str ca_file;
    bool tls_insecure;
    bool progress; /* a line on standard error, redrawn */
} sl_load_plan;

/* Runs to the end, or until SIGINT or SIGTERM. Errors: SL_ENOMEM, SL_EIO, SL_ETLS (CA file). */
SL_MUST_CHECK int sl_load_run(const sl_load_plan *plan, const sl_load_request *request, sl_load_result *result);

#endif
