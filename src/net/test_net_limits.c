/* Maxima of the servers: listeners, connections, bodies; at the limit and one above. */
#include "src/net/http_server.h"
#include "src/net/lite/ctl_server.h"
#include "tests/harness/net_fixture.h"

#include <fcntl.h>

#define MAX_LISTENERS 8

/* ---- listeners ---- */

static void say_hello(void *user, const sl_ctl_request *request, sl_ctl_response *response)
{
    (void)user, (void)request;
    (void)sl_buf_put_c(&response->body, "hello");
}

static const sl_ctl_route routes[] = {{"/", SL_CTL_GET, say_hello, NULL}};

/* Each of as many listeners as there may be answers; a socket that is one too many is closed, as it was promised. */
SL_TEST(listeners_of_the_control_server)
{
    uint16_t ports[MAX_LISTENERS + 1];
    sl_ctl_server *server = sl_ctl_server_new(NULL);
    REQUIRE(server != NULL);
    for (size_t i = 0; i < MAX_LISTENERS; i++)
        CHECK_EQ(sl_ctl_server_add(server, nf_listen(&ports[i]), routes, 1), 0);
    int extra = nf_listen(&ports[MAX_LISTENERS]);
    CHECK_EQ(sl_ctl_server_add(server, extra, routes, 1), SL_ELIMIT);
    CHECK(fcntl(extra, F_GETFD) < 0);
    REQUIRE(sl_ctl_server_start(server) == 0);
    for (size_t i = 0; i < MAX_LISTENERS; i++) {
        nf_message m = nf_ask(ports[i], "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        CHECK_STR(m.body, "hello");
        nf_message_free(&m);
    }
    CHECK_EQ(sl_ctl_server_add(server, nf_listen(&ports[0]), routes, 1), SL_EINVAL); /* it has started */
    sl_ctl_server_free(server);
}

static void on_request(void *user, sl_exchange *x)
{
    const sl_http_reply reply = {.status = 200, .body = SL_STR("hello")};
    (void)user;
    sl_exchange_respond(x, &reply);
}

static void on_done(void *user, sl_exchange *x, int outcome)
{
    (void)user, (void)x, (void)outcome;
}

typedef struct front {
    nf_loop l;
    sl_http_server *server;
} front;

static void front_close(void *user)
{
    sl_http_server_close(((front *)user)->server);
}

static void front_start(front *f, const sl_http_server_options *options)
{
    const sl_http_handler handler = {.on_request = on_request, .on_done = on_done};
    memset(f, 0, sizeof *f);
    if (sl_loop_init(&f->l.loop) != 0 || sl_http_server_new(&f->l.loop, &handler, options, &f->server) != 0)
        abort();
}

SL_TEST(listeners_of_the_server)
{
    front f;
    uint16_t ports[MAX_LISTENERS + 1];
    int fds[MAX_LISTENERS + 1];
    front_start(&f, NULL);
    for (size_t i = 0; i <= MAX_LISTENERS; i++) {
        fds[i] = nf_listen(&ports[i]);
        CHECK_EQ(sl_http_server_listen(f.server, fds[i]), i < MAX_LISTENERS ? 0 : SL_ELIMIT);
        CHECK(fcntl(fds[i], F_GETFD) >= 0); /* stays the caller's */
    }
    nf_loop_start(&f.l, front_close, &f);
    for (size_t i = 0; i < MAX_LISTENERS; i++) {
        nf_message m = nf_ask(ports[i], "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        CHECK_STR(m.body, "hello");
        nf_message_free(&m);
    }
    nf_loop_stop(&f.l);
    for (size_t i = 0; i <= MAX_LISTENERS; i++)
        close(fds[i]);
    sl_loop_done(&f.l.loop);
}

/* ---- connections ---- */

/* All places taken by idle clients: whoever comes next is served, and one goes for each. */
SL_TEST(connections_of_the_control_server)
{
    uint16_t port;
    int clients[SL_MAX_CTL_CONNECTIONS + 4];
    sl_ctl_stats stats;
    nf_message m;
    sl_ctl_server *server = sl_ctl_server_new(&(sl_ctl_options){.max_connections = SL_MAX_CTL_CONNECTIONS + 100});
    REQUIRE(server && sl_ctl_server_add(server, nf_listen(&port), routes, 1) == 0 && sl_ctl_server_start(server) == 0);
    for (int i = 0; i < SL_MAX_CTL_CONNECTIONS + 4; i++) {
        clients[i] = nf_connect(port);
        REQUIRE(nf_send_c(clients[i], "GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        REQUIRE(nf_read_message(clients[i], false, false, &m));
        CHECK_STR(m.body, "hello");
        nf_message_free(&m);
        sl_ctl_server_stats(server, &stats);
        CHECK_EQ(stats.evicted, i < SL_MAX_CTL_CONNECTIONS ? 0 : i - SL_MAX_CTL_CONNECTIONS + 1);
    }
    unsigned alive = 0;
    for (int i = 0; i < SL_MAX_CTL_CONNECTIONS + 4; i++) { /* those that were closed answer no more */
        if (!nf_send_c(clients[i], "GET / HTTP/1.1\r\nHost: a\r\n\r\n") ||
            !nf_read_message(clients[i], false, false, &m))
            continue;
        alive++;
        nf_message_free(&m);
    }
    CHECK_EQ(alive, SL_MAX_CTL_CONNECTIONS);
    sl_ctl_server_stats(server, &stats);
    CHECK_EQ(stats.evicted, 4);
    for (int i = 0; i < SL_MAX_CTL_CONNECTIONS + 4; i++)
        close(clients[i]);
    sl_ctl_server_free(server);
}

/* ---- bodies ---- */

/* What is announced decides: a body of all that is allowed is waited for, one byte more is refused at once. */
SL_TEST(bodies_without_a_limit_of_their_own)
{
    static const struct {
        size_t length;
        int status; /* 100: it is asked for */
    } rows[] = {
        {0, 200}, {1, 100}, {SL_MAX_BODY_BYTES, 100}, {(size_t)SL_MAX_BODY_BYTES + 1, 413}, {SIZE_MAX / 2, 413}};
    front f;
    uint16_t port;
    int fd = nf_listen(&port);
    front_start(&f, &(sl_http_server_options){.body_timeout_ms = 10000});
    REQUIRE(sl_http_server_listen(f.server, fd) == 0);
    nf_loop_start(&f.l, front_close, &f);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char head[160], answer[64] = "";
        int client = nf_connect(port);
        (void)snprintf(head, sizeof head,
                       "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %zu\r\n\r\n",
                       rows[i].length);
        REQUIRE(nf_send_c(client, head));
        CHECK(recv(client, answer, 12, MSG_WAITALL) == 12);
        CHECK_EQ(atoi(answer + 9), rows[i].status);
        close(client);
    }
    nf_loop_stop(&f.l);
    close(fd);
    sl_loop_done(&f.l.loop);
}
