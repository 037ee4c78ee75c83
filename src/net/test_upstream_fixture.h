/*
 * For tests of the upstream client: calls that run on the test's own thread, and servers that answer what they are
 * told.
 */
#ifndef SL_NET_TEST_UPSTREAM_FIXTURE_H
#define SL_NET_TEST_UPSTREAM_FIXTURE_H

#include "src/base/buf.h"
#include "src/net/upstream.h"
#include "tests/harness/net_fixture.h"

#define REQUEST "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"
#define ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

/* One call, run on this thread. */
typedef struct asked {
    sl_call call;
    sl_buf body;
    int status;
    int error;
    char reason[200];
    bool over;
    bool cancel_at_head;
    bool pause_at_head;
    unsigned reads;
} asked;

static void on_read(sl_call *call, const sl_http1_head *head, sl_str body, bool end)
{
    asked *a = call->user;
    a->reads++;
    if (head)
        a->status = head->status;
    (void)sl_buf_put_str(&a->body, body);
    if (end)
        a->over = true;
    if (head && a->cancel_at_head) {
        sl_call_cancel(call);
        a->over = true;
    }
    if (head && a->pause_at_head)
        sl_call_pause(call, true);
}

static void on_fail(sl_call *call, int error, const char *reason)
{
    asked *a = call->user;
    a->error = error;
    (void)snprintf(a->reason, sizeof a->reason, "%s", reason);
    a->over = true;
}

static const sl_call_handler handler = {on_read, on_fail};

typedef struct client {
    sl_loop loop;
    sl_upstream *upstream;
    sl_origin *origin;
} client;

NF_UNUSED static client *client_new(const char *host, uint16_t port, bool tls, const char *ca_file,
                                    const sl_upstream_options *options)
{
    client *c = calloc(1, sizeof *c);
    sl_origin_options o = {.host = sl_str_c(host), .port = port, .tls = tls, .ca_file = sl_str_c(ca_file)};
    (void)signal(SIGPIPE, SIG_IGN);
    if (sl_loop_init(&c->loop) != 0 || sl_upstream_new(&c->loop, options, &c->upstream) != 0 ||
        sl_upstream_origin(c->upstream, &o, &c->origin) != 0)
        abort();
    return c;
}

NF_UNUSED static void client_free(client *c)
{
    sl_upstream_close(c->upstream);
    while (uv_run(&c->loop.uv, UV_RUN_ONCE))
        ;
    sl_upstream_free(c->upstream);
    sl_loop_done(&c->loop);
    free(c);
}

NF_UNUSED static void run_until_over(client *c, asked *a)
{
    uint64_t end = sl_mono_ns() + (uint64_t)NF_PATIENCE_MS * 1000000;
    while (!a->over && sl_mono_ns() < end)
        (void)uv_run(&c->loop.uv, UV_RUN_ONCE);
    CHECK(a->over);
}

NF_UNUSED static void start(client *c, asked *a)
{
    sl_buf_init(&a->body, 100u << 20);
    a->call.handler = &handler;
    a->call.user = a;
    a->call.pieces[0] = SL_STR("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n");
    a->call.pieces[1] = SL_STR("");
    a->call.pieces[2] = SL_STR("{}");
    a->call.piece_count = 3;
    sl_call_start(&a->call, c->origin);
}

NF_UNUSED static void ask(client *c, asked *a)
{
    start(c, a);
    run_until_over(c, a);
}

/* A server, and a client of it that has asked once. */
NF_UNUSED static client *client_asking(nf_server *s, void (*serves)(nf_server *, int, int), const char *text, bool tls,
                                       const sl_upstream_options *options, asked *a)
{
    nf_server_start(s, serves, (char *)(uintptr_t)text);
    client *c = client_new("127.0.0.1", s->port, tls, NULL, options);
    ask(c, a);
    return c;
}

/* Ends all three. */
NF_UNUSED static void client_asked(client *c, asked *a, nf_server *s)
{
    sl_buf_done(&a->body);
    client_free(c);
    nf_server_stop(s);
}

/* Answers what `user` says, on and on. */
NF_UNUSED static void serve(nf_server *server, int fd, int number)
{
    nf_message m;
    (void)number;
    while (nf_read_message(fd, true, false, &m)) {
        server->requests++;
        nf_message_free(&m);
        if (!nf_send_c(fd, server->user))
            return;
    }
}

NF_UNUSED static void serve_once(nf_server *server, int fd, int number)
{
    nf_message m;
    (void)number;
    if (nf_read_message(fd, true, false, &m)) {
        server->requests++;
        nf_message_free(&m);
        (void)nf_send_c(fd, server->user);
    }
}

NF_UNUSED static void hang_up(nf_server *server, int fd, int number)
{
    (void)number;
    nf_message m;
    if (nf_read_message(fd, true, false, &m)) {
        server->requests++;
        nf_message_free(&m);
    }
}

#endif
