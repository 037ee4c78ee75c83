/*
 * Answers to an OTLP/HTTP request: whatever a peer sends, in pieces of any size, the client ends with an answer or an
 * error, and the outcome is one of the four there are. Input: a byte for the size of the pieces, then what the peer
 * sends.
 */
#include <errno.h>
#include <stdlib.h>

#include "src/base/clock.h"
#include "src/net/lite/http_post.h"
#include "src/telemetry/exporter_outcome.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct peer {
    const uint8_t *data;
    size_t left;
    size_t piece;
} peer;

static void require(bool holds)
{
    if (!holds)
        abort();
}

static int peer_connect(void *user, int fd, const struct sockaddr *addr, socklen_t len)
{
    (void)user;
    (void)fd;
    (void)addr;
    (void)len;
    return 0;
}

static ssize_t peer_send(void *user, int fd, const void *data, size_t len, int flags)
{
    (void)user;
    (void)fd;
    (void)data;
    (void)flags;
    return (ssize_t)len;
}

static ssize_t peer_recv(void *user, int fd, void *data, size_t len)
{
    (void)fd;
    peer *p = user;
    size_t take = p->piece < len ? p->piece : len;
    take = take < p->left ? take : p->left;
    if (take)
        memcpy(data, p->data, take);
    p->data += take;
    p->left -= take;
    return (ssize_t)take;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    peer p = {data + 1, size - 1, (size_t)data[0] + 1};
    sl_net_ops ops = {
        .user = &p, .connect = peer_connect, .send = peer_send, .recv = peer_recv, .resolve = sl_net_ops_libc.resolve};
    sl_http_post_options o = {.url = SL_STR("http://127.0.0.1:1/v1/traces"),
                              .content_type = SL_STR("application/x-protobuf"),
                              .user_agent = SL_STR("fuzz"),
                              .max_answer_bytes = 1u << 20,
                              .ops = &ops};
    sl_http_post *client = NULL;
    const char *why;
    if (sl_http_post_new(&o, &client, &why))
        return 0;
    for (int i = 0; i < 3; i++) { /* what is left over must not be read as the next answer */
        sl_http_answer answer;
        int error = sl_http_post_send(client, SL_STR("body"), sl_mono_ns() + 1000000000u, &answer);
        require((error == 0) == (sl_http_post_error(client)[0] == 0));
        if (error)
            continue;
        require(answer.status >= 200 && answer.status <= 599);
        sl_otlp_http_answer judged = {answer.status, answer.content_type, answer.retry_after, answer.body, 1700000000};
        sl_otlp_outcome outcome;
        sl_otlp_outcome_http(&judged, &outcome);
        require(outcome.error == 0 || outcome.error == SL_ERETRY || outcome.error == SL_EREFUSED);
        require(outcome.rejected <= INT64_MAX && outcome.retry_after_ms <= 86400000u);
        require(sl_utf8_valid(sl_str_c(outcome.why)));
    }
    sl_http_post_free(client);
    return 0;
}
