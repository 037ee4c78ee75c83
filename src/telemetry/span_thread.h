/*
 * What the SDK keeps for each thread: idle span objects, random numbers for ids, the current span and baggage.
 *
 * A span object comes from the pool of the thread that starts it and goes to that of the thread that ends it. The pool
 * is bounded, and freed when its thread ends. A forked child keeps the pool of its only thread, with new random
 * numbers.
 */
#ifndef SL_TELEMETRY_SPAN_THREAD_H
#define SL_TELEMETRY_SPAN_THREAD_H

#include "src/base/rng.h"
#include "src/telemetry/sdk_impl.h"

typedef struct sl_span_thread {
    sl_span *idle;
    uint32_t idle_count;
    bool ready; /* random numbers seeded, thread end noticed */
    sl_rng rng;
    sl_span *current;
    const sl_baggage *baggage;
} sl_span_thread;

extern _Thread_local sl_span_thread sl_span_this __attribute__((tls_model("initial-exec")));

/* Number of forks between this process and the first one: tells spans begun in a parent process. */
extern uint32_t sl_span_generation;

/* Makes this thread ready: seeds, and registers the end of the thread. */
void sl_span_thread_init(void);
/* A new span object, when the pool is empty. NULL without memory. */
sl_span *sl_span_object_new(void);
/* Takes an idle object, or frees it when the pool is full. */
void sl_span_object_put(sl_span *span);
/* Frees this thread's idle span objects: for the end of an SDK. */
void sl_span_thread_trim(void);

#endif
