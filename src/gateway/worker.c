/* A worker: loop, gateway, recording SDK, signals. */
#include "src/gateway/worker.h"

#include <signal.h>
#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/base/sync.h"
#include "src/gateway/gateway.h"
#include "src/telemetry/sdk_impl.h"

#define RECORD_MS 2000u /* all in all; within what the supervisor grants for cutting off */

typedef struct worker {
    const sl_worker_options *options;
    sl_loop loop;
    sl_gateway *gateway;
    sl_sdk *sdk;
    uv_signal_t term;
    uv_timer_t deadline;
    bool draining;
} worker;

/* Ends all requests at once: their spans and records come faster than anybody reads, so they may wait for the reader.
 */
static void stop_now(worker *w)
{
    SL_ASSERT(w);
    if (w->options->segment)
        sl_segment_wait_until(w->options->segment, sl_deadline_ns(RECORD_MS));
    sl_gateway_close(w->gateway);
    if (!uv_is_closing((uv_handle_t *)&w->term))
        uv_close((uv_handle_t *)&w->term, NULL);
    if (!uv_is_closing((uv_handle_t *)&w->deadline))
        uv_close((uv_handle_t *)&w->deadline, NULL);
}

static void on_drained(void *user)
{
    stop_now(user);
}

static void on_deadline(uv_timer_t *timer)
{
    SL_ASSERT(timer);
    stop_now(timer->data);
}

/* The first SIGTERM drains; a second one ends at once, unless it only came twice. */
static void on_term(uv_signal_t *handle, int number)
{
    SL_ASSERT(handle);
    worker *w = handle->data;
    (void)number;
    if (w->draining) {
        if (!w->options->must_hurry || w->options->must_hurry(w->options->user))
            stop_now(w);
        return;
    }
    w->draining = true;
    if (w->options->drain_timeout_ms)
        (void)uv_timer_start(&w->deadline, on_deadline, w->options->drain_timeout_ms, 0);
    sl_gateway_drain(w->gateway, on_drained, w);
}

static int start_sdk(worker *w)
{
    SL_ASSERT(w);
    const sl_worker_options *o = w->options;
    if (!o->segment)
        return 0;
    sl_sdk_internal_options internal = {
        .segment = o->segment, .record_only = true, .default_service_name = "litellm-gateway"};
    return sl_sdk_new_internal(&o->sdk, &internal, &w->sdk);
}

static int start_handles(worker *w)
{
    SL_ASSERT(w);
    if (uv_timer_init(&w->loop.uv, &w->deadline) != 0)
        return SL_EIO;
    w->deadline.data = w;
    if (uv_signal_init(&w->loop.uv, &w->term) != 0) {
        uv_close((uv_handle_t *)&w->deadline, NULL);
        return SL_EIO;
    }
    w->term.data = w;
    return uv_signal_start(&w->term, on_term, SIGTERM) == 0 ? 0 : SL_EIO;
}

static int start_gateway(worker *w)
{
    SL_ASSERT(w);
    sl_gateway_options options = {.config = w->options->config, .sdk = w->sdk};
    int error = sl_gateway_new(&w->loop, &options, &w->gateway);
    if (error)
        return error;
    return sl_gateway_listen(w->gateway, w->options->listen_fd);
}

int sl_worker_run(const sl_worker_options *options)
{
    SL_ASSERT(options && options->config && options->listen_fd >= 0);
    worker *w = sl_calloc(1, sizeof *w);
    if (!w)
        return 1;
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    w->options = options;
    int error = sl_loop_init(&w->loop);
    if (error) {
        sl_free(w);
        return 1;
    }
    error = start_handles(w);
    if (!error)
        error = start_sdk(w);
    if (!error)
        error = start_gateway(w);
    if (error) {
        (void)fprintf(stderr, "sightline: worker: cannot start: %s\n", sl_strerror(error));
        stop_now(w);
    } else if (options->on_ready) {
        options->on_ready(options->user);
    }
    (void)uv_run(&w->loop.uv, UV_RUN_DEFAULT);
    sl_gateway_free(w->gateway);
    sl_loop_done(&w->loop);
    if (w->sdk) {
        (void)sl_sdk_shutdown(w->sdk, 1000);
        sl_sdk_free(w->sdk);
    }
    sl_free(w);
    return error ? 1 : 0;
}
