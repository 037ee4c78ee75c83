/* The exporter to a live view elsewhere. */
#include "src/telemetry/exporter_view.h"

#include <stdatomic.h>
#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/buf.h"
#include "src/base/mem.h"
#include "src/base/sync.h"
#include "src/net/lite/http_post.h"
#include "src/telemetry/http_transport.h"

#define MAX_URL 2048
#define SEND_MS 2000u          /* a listener on this machine answers, or it is in trouble */
#define AGAIN_NS 2000000000ull /* until the next try when nobody listens */
#define AFTER_REFUSAL_NS 30000000000ull

typedef struct view_exporter {
    sl_http_post *post;
    /* Any thread: not before this time (monotonic) anything is wanted. */
    _Atomic uint64_t quiet_until_ns;
} view_exporter;

static bool wants(void *user, sl_signal signal, sl_str item)
{
    const view_exporter *x = user;
    (void)item;
    uint64_t until = atomic_load_explicit(&x->quiet_until_ns, memory_order_relaxed);
    return signal == SL_SIGNAL_TRACES && (until == 0 || sl_mono_ns() >= until);
}

/* A view that does not answer is none: whatever happens, it is no failure. */
static int deliver(void *user, sl_signal signal, sl_str request, size_t items, uint64_t timeout_ms,
                   uint64_t *ret_retry_after_ms, uint64_t *ret_rejected)
{
    SL_ASSERT(user && signal == SL_SIGNAL_TRACES);
    (void)signal, (void)items, (void)ret_retry_after_ms, (void)ret_rejected;
    view_exporter *x = user;
    sl_http_answer answer;
    int error =
        sl_http_post_send(x->post, request, sl_deadline_ns(timeout_ms < SEND_MS ? timeout_ms : SEND_MS), &answer);
    uint64_t quiet = 0;
    if (error)
        quiet = sl_mono_ns() + AGAIN_NS;
    else if (answer.status == 404 || answer.status == 405) /* something else listens there */
        quiet = sl_mono_ns() + AFTER_REFUSAL_NS;
    atomic_store_explicit(&x->quiet_until_ns, quiet, memory_order_relaxed);
    return 0;
}

static void free_exporter(void *user)
{
    view_exporter *x = user;
    sl_http_post_free(x->post);
    sl_free(x);
}

int sl_exporter_view_new(sl_str url, sl_exporter *ret_exporter, const char **ret_why)
{
    SL_ASSERT(ret_exporter && ret_why);
    view_exporter *x = sl_calloc(1, sizeof *x);
    if (!x)
        return SL_ENOMEM;
    sl_buf full;
    sl_buf_init(&full, MAX_URL);
    *ret_why = "too long";
    while (url.len && url.ptr[url.len - 1] == '/')
        url.len--;
    int error = sl_buf_put_str(&full, url);
    if (!error)
        error = sl_buf_put_c(&full, "/v1/traces");
    if (error && error != SL_ENOMEM)
        error = SL_ECONFIG;
    sl_http_post_options options = {.url = sl_buf_str(&full),
                                    .content_type = SL_STR("application/x-protobuf"),
                                    .user_agent = sl_str_c(sl_exporter_user_agent())};
    if (!error)
        error = sl_http_post_new(&options, &x->post, ret_why);
    sl_buf_done(&full);
    if (error) {
        sl_free(x);
        return error;
    }
    memset(ret_exporter, 0, sizeof *ret_exporter);
    ret_exporter->name = "live view elsewhere";
    ret_exporter->user = x;
    ret_exporter->signals = SL_SIGNAL_BIT(SL_SIGNAL_TRACES);
    ret_exporter->deliver = deliver;
    ret_exporter->free = free_exporter;
    ret_exporter->immediate = true;
    ret_exporter->wants = wants;
    return 0;
}
