/* GET /status/metrics: what the metrics listener says, for platforms that show one port alone. */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/flow/server_impl.h"
#include "src/wire/url.h"

#define MAX_PAGE (64u * 1024 * 1024)

typedef struct asking {
    sl_call call;
    sl_api_request *request;
    sl_buf page;
    int status;
    char head[512];
} asking;

static void finish(asking *a, const char *reason)
{
    if (reason || a->status != 200 || a->page.failed)
        sl_api_fail(a->request, 500, "the metrics cannot be read: %s", reason ? reason : "no page came");
    else
        sl_api_reply_text(a->request, 200, "text/plain; version=0.0.4; charset=utf-8", sl_buf_str(&a->page));
    sl_api_unref(a->request);
    sl_buf_done(&a->page);
    sl_free(a);
}

static void on_read(sl_call *call, const sl_http1_head *head, sl_str body, bool end)
{
    asking *a = call->user;
    if (head)
        a->status = head->status;
    (void)sl_buf_put_str(&a->page, body);
    if (end)
        finish(a, NULL);
}

static void on_fail(sl_call *call, int error, const char *reason)
{
    (void)error;
    finish(call->user, reason ? reason : "no answer");
}

void sl_api_status_metrics(sl_api_request *request)
{
    static const sl_call_handler handler = {on_read, on_fail};
    sl_flow_server *server = sl_api_user(request);
    const char *text = server->options->metrics_url;
    sl_url url;
    sl_origin *origin;
    if (!text) {
        sl_api_reply_text(request, 204, NULL, sl_str_of(NULL, 0));
        return;
    }
    if (sl_url_parse(sl_str_c(text), &url, NULL) != 0) {
        sl_api_fail(request, 500, "the metrics cannot be read: %s is no address", text);
        return;
    }
    sl_origin_options o = {.host = url.host, .port = url.port};
    int error = sl_upstream_origin(server->services.upstream, &o, &origin);
    asking *a = error ? NULL : sl_calloc(1, sizeof *a);
    if (!a) {
        sl_api_fail_code(request, error ? error : SL_ENOMEM, "the metrics cannot be read");
        return;
    }
    int len = snprintf(a->head, sizeof a->head, "GET /metrics HTTP/1.1\r\nHost: %.*s\r\nAccept: text/plain\r\n\r\n",
                       (int)url.authority.len, url.authority.ptr);
    SL_ASSERT(len > 0 && (size_t)len < sizeof a->head);
    sl_buf_init(&a->page, MAX_PAGE);
    a->request = sl_api_ref(request);
    a->call.handler = &handler;
    a->call.user = a;
    a->call.pieces[0] = sl_str_of(a->head, (size_t)len);
    a->call.piece_count = 1;
    a->call.connect_timeout_ms = 2000;
    a->call.wait_timeout_ms = a->call.read_timeout_ms = 5000;
    sl_call_start(&a->call, origin);
}
