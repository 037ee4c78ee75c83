/* For tests: a gateway on a thread, in front of a scripted upstream on another. */
#ifndef SL_GATEWAY_TEST_FRONT_H
#define SL_GATEWAY_TEST_FRONT_H

#include "src/base/mem.h"
#include "src/gateway/gateway.h"
#include "src/gateway/gw_impl.h"
#include "src/telemetry/sdk_impl.h"
#include "tests/harness/net_fixture.h"

#define KEY "sk-client-key"
#define UPSTREAM_KEY "sk-upstream-key"

typedef struct front {
    nf_loop l;
    sl_gateway *gateway;
    sl_config config;
    sl_deployment deployments[4];
    sl_sdk *sdk;
    uint16_t port;
    int listen_fd;
} front;

/* What the scripted upstream does, and what it saw. */
typedef struct script {
    nf_server server;
    const char *_Atomic answer; /* sent whole, unless cut */
    _Atomic size_t answer_len;
    _Atomic size_t cut; /* first piece; 0: all at once */
    unsigned pause_ms;  /* between the pieces */
    bool close_after;
    bool stale; /* answers one request, then closes when the second one comes */
    unsigned hold_ms;
    uint64_t big;               /* sends a chunked stream of that many bytes */
    _Atomic uint64_t closed_ns; /* when the gateway closed on us */
    pthread_mutex_t lock;
    nf_message seen[8];
    _Atomic int seen_count;
} script;

NF_UNUSED static void keep_seen(script *s, nf_message *m)
{
    pthread_mutex_lock(&s->lock);
    if (s->seen_count < 8)
        s->seen[s->seen_count] = *m;
    else
        nf_message_free(m);
    s->seen_count++;
    pthread_mutex_unlock(&s->lock);
}

NF_UNUSED static bool send_big(script *s, int fd)
{
    static const char head[] =
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    static char block[65536];
    if (!nf_send(fd, head, sizeof head - 1))
        return false;
    for (uint64_t left = s->big; left > 0; left -= sizeof block) {
        if (!nf_send_c(fd, "10000\r\n") || !nf_send(fd, block, sizeof block) || !nf_send_c(fd, "\r\n"))
            return false;
    }
    return nf_send_c(fd, "0\r\n\r\n");
}

NF_UNUSED static bool send_answer(script *s, int fd)
{
    if (s->big)
        return send_big(s, fd);
    /* Read once: the test may change them as soon as it has its answer. */
    const char *answer = s->answer;
    size_t len = s->answer_len, first = s->cut ? s->cut : len;
    if (!nf_send(fd, answer, first))
        return false;
    if (first < len && s->pause_ms)
        nf_sleep_ms(s->pause_ms);
    return nf_send(fd, answer + first, len - first);
}

NF_UNUSED static void serve(nf_server *server, int fd, int number)
{
    script *s = server->user;
    nf_message m;
    (void)number;
    for (int i = 0; nf_read_message(fd, true, false, &m); i++) {
        if (s->stale && i == 1) {
            nf_message_free(&m);
            return;
        }
        keep_seen(s, &m);
        if (s->hold_ms) {
            if (nf_closed_within(fd, s->hold_ms)) {
                s->closed_ns = sl_mono_ns();
                return;
            }
        }
        if (!send_answer(s, fd))
            break;
        if (s->close_after)
            return;
    }
    s->closed_ns = sl_mono_ns();
}

NF_UNUSED static script *script_start(const char *answer)
{
    script *s = calloc(1, sizeof *s);
    s->answer = answer;
    s->answer_len = answer ? strlen(answer) : 0;
    (void)pthread_mutex_init(&s->lock, NULL);
    nf_server_start(&s->server, serve, s);
    return s;
}

NF_UNUSED static void script_stop(script *s)
{
    nf_server_stop(&s->server);
    for (int i = 0; i < s->seen_count && i < 8; i++)
        nf_message_free(&s->seen[i]);
    free(s);
}

NF_UNUSED static void front_close(void *user)
{
    front *f = user;
    sl_gateway_close(f->gateway);
}

NF_UNUSED static void add_deployment(front *f, const char *name, const char *upstream, uint16_t port)
{
    sl_deployment *d = &f->deployments[f->config.deployment_count++];
    *d = (sl_deployment){.model_name = sl_str_c(name),
                         .provider = SL_STR("openai"),
                         .upstream_model = sl_str_c(upstream),
                         .host = SL_STR("127.0.0.1"),
                         .port = port,
                         .base_path = SL_STR("/v1"),
                         .api_key = SL_STR(UPSTREAM_KEY),
                         .include_usage = true,
                         .propagate_tracestate = true,
                         .propagate_baggage = true,
                         .timeout_ms = 5000,
                         .stream_timeout_ms = 5000,
                         .connect_timeout_ms = 1000};
}

/* A gateway with models `m` (same name upstream) and `alias` (there `real`), both on `port`. */
NF_UNUSED static front *front_new(uint16_t port)
{
    front *f = calloc(1, sizeof *f);
    f->config.deployments = f->deployments;
    f->config.master_key = SL_STR(KEY);
    add_deployment(f, "m", "m", port);
    add_deployment(f, "alias", "real", port);
    return f;
}

NF_UNUSED static void front_start(front *f)
{
    sl_gateway_options options = {.config = &f->config, .sdk = f->sdk};
    if (sl_loop_init(&f->l.loop) != 0 || sl_gateway_new(&f->l.loop, &options, &f->gateway) != 0)
        abort();
    f->listen_fd = nf_listen(&f->port);
    if (sl_gateway_listen(f->gateway, f->listen_fd) != 0)
        abort();
    nf_loop_start(&f->l, front_close, f);
}

NF_UNUSED static front *front_of(uint16_t port)
{
    front *f = front_new(port);
    front_start(f);
    return f;
}

NF_UNUSED static void front_stop(front *f)
{
    nf_loop_stop(&f->l);
    CHECK_EQ(sl_gateway_in_flight(f->gateway), 0);
    sl_gateway_free(f->gateway);
    sl_loop_done(&f->l.loop);
    close(f->listen_fd);
    free(f);
}

NF_UNUSED static int post(front *f, const char *path, const char *fields, const char *body)
{
    char *text = malloc(strlen(body) + 1024);
    int len =
        sprintf(text, "POST %s HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer " KEY "\r\n%sContent-Length: %zu\r\n\r\n%s",
                path, fields, strlen(body), body);
    int fd = nf_connect(f->port);
    (void)nf_send(fd, text, (size_t)len);
    free(text);
    return fd;
}

NF_UNUSED static nf_message ask(front *f, const char *body)
{
    nf_message m = {.status = -1};
    int fd = post(f, "/v1/chat/completions", "", body);
    (void)nf_read_message(fd, false, false, &m);
    close(fd);
    return m;
}

#define UNARY                                                                                                          \
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 141\r\nSet-Cookie: a=b\r\n"                  \
    "X-Up: 1\r\nConnection: X-Hop\r\nX-Hop: 2\r\nDate: yesterday\r\n\r\n"                                              \
    "{\"id\":\"c-1\",\"model\":\"m-1\",\"choices\":[{\"index\":0,\"finish_reason\":\"stop\"}],"                        \
    "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":7} }"

/* ---- telemetry without a pipeline: what was recorded stays in the segment ---- */

/* Gives a gateway that has not started yet an SDK of its own, with a sampler. */
NF_UNUSED static sl_segment *front_record_some(front *f, const sl_sampler_options *sampler)
{
    sl_segment *segment;
    sl_segment_options small = {.size_bytes = SL_SEGMENT_MIN_BYTES, .threads = 4, .cells = 16384};
    sl_sdk_options options = {.ignore_environment = true, .sampler = *sampler};
    sl_sdk_internal_options internal;
    memset(&internal, 0, sizeof internal);
    if (sl_segment_new(&small, &segment) != 0)
        abort();
    internal.segment = segment;
    internal.record_only = true;
    if (sl_sdk_new_internal(&options, &internal, &f->sdk) != 0)
        abort();
    return segment;
}

/* As front_record_some, and all of it. */
NF_UNUSED static sl_segment *front_record(front *f)
{
    return front_record_some(f, &(sl_sampler_options){.kind = SL_SAMPLER_DEFAULT});
}

/* Frees both, behind front_stop. */
NF_UNUSED static void record_done(sl_sdk *sdk, sl_segment *segment)
{
    (void)sl_sdk_shutdown(sdk, 1000);
    sl_sdk_free(sdk);
    sl_segment_free(segment);
}

#endif
