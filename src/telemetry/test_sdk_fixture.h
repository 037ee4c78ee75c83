/*
 * A minimal SDK for tests of recording: a private segment, no pipeline. What was recorded is read by the test itself.
 *
 *     sl_test_sdk t;
 *     sl_test_sdk_init(&t, NULL);  …  sl_test_sdk_done(&t);
 */
#ifndef SL_TELEMETRY_TEST_SDK_FIXTURE_H
#define SL_TELEMETRY_TEST_SDK_FIXTURE_H

#include "src/base/mem.h"
#include "src/telemetry/limits_defaults.h"
#include "src/telemetry/sampler.h"
#include "src/telemetry/scope.h"
#include "src/telemetry/span_thread.h"
#include "src/telemetry/tracer.h"
#include "tests/harness/sl_test.h"

/* All zero: always_on by parent, default limits, default rings. */
typedef struct sl_test_sdk_options {
    sl_sampler_options sampler;
    sl_limits limits;
    sl_segment_options segment;
    bool keep_errors;
    int shared_fd; /* > 0: records into this file */
} sl_test_sdk_options;

typedef struct sl_test_sdk {
    struct sl_sdk sdk;
} sl_test_sdk;

/* Stands in where the program does not link the SDK object itself. */
__attribute__((weak)) sl_sdk *sl_sdk_or_default(sl_sdk *sdk)
{
    return sdk;
}

static inline void sl_test_sdk_init(sl_test_sdk *t, const sl_test_sdk_options *options)
{
    static const sl_test_sdk_options none;
    const sl_test_sdk_options *o = options ? options : &none;
    memset(t, 0, sizeof *t);
    struct sl_sdk *sdk = &t->sdk;
    int error = o->shared_fd > 0 ? sl_segment_new_shared(&o->segment, o->shared_fd, &sdk->segment)
                                 : sl_segment_new(&o->segment, &sdk->segment);
    CHECK_EQ(error, 0);
    sdk->owns_segment = true;
    sdk->scopes = sl_scopes_new(sdk->segment);
    sdk->sampler = sl_sampler_new(&o->sampler);
    sdk->keep_errors = o->keep_errors;
    CHECK_EQ(sl_limits_init(&sdk->span_limits, &o->limits), 0);
    CHECK_EQ(sl_limits_init(&sdk->log_limits, &o->limits), 0);
    sdk->propagators = SL_PROPAGATE_TRACECONTEXT | SL_PROPAGATE_BAGGAGE;
    CHECK_EQ(pthread_mutex_init(&sdk->lock, NULL), 0);
    CHECK(sdk->scopes && sdk->sampler);
    atomic_store(&sdk->recording, true);
}

static inline void sl_test_sdk_done(sl_test_sdk *t)
{
    struct sl_sdk *sdk = &t->sdk;
    (void)sl_span_attach(NULL);
    (void)sl_baggage_attach(NULL);
    sl_tracers_free(sdk);
    sl_scopes_free(sdk->scopes);
    sl_sampler_free(sdk->sampler);
    sl_limits_done(&sdk->span_limits);
    sl_limits_done(&sdk->log_limits);
    (void)pthread_mutex_destroy(&sdk->lock);
    sl_segment_free(sdk->segment);
    sl_span_thread_trim();
}

#endif
