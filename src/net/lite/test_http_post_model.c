/*
 * The POST client over conversations by chance: answers in every framing, cut anywhere, around its limit, on
 * connections that stay or close. Each answer is the one that was sent, and a connection is used again exactly when
 * that is allowed.
 */
#include "src/net/lite/http_post.h"

#include "src/base/clock.h"
#include "src/net/lite/test_http_server.h"
#include "tests/harness/sl_chance.h"
#include "tests/harness/sl_test.h"

#define ANSWERS 16
#define LIMIT 3000u
#define ROOM (8u * LIMIT)

enum { LENGTH, CHUNKED, UNTIL_CLOSE }; /* framings */

/* An answer as it goes over the wire, and what the client has to make of it. */
typedef struct planned {
    char wire[ROOM], body[LIMIT + 64];
    size_t wire_len, body_len;
    int status, error;
    bool close;
} planned;

typedef struct conversation {
    planned answers[ANSWERS];
    http_act acts[ANSWERS];
    uint64_t chance;
} conversation;

static void add(planned *p, const char *text)
{
    memcpy(p->wire + p->wire_len, text, strlen(text));
    p->wire_len += strlen(text);
}

static void add_body(planned *p, size_t from, size_t len)
{
    memcpy(p->wire + p->wire_len, p->body + from, len);
    p->wire_len += len;
}

static void add_chunked(planned *p, uint64_t *chance)
{
    char size[40];
    for (size_t at = 0; at < p->body_len;) {
        size_t len = 1 + sl_chance(chance, (unsigned)(p->body_len - at < 700 ? p->body_len - at : 700));
        (void)snprintf(size, sizeof size, sl_chance(chance, 3) ? "%zx\r\n" : "%04zX;a=b\r\n", len);
        add(p, size);
        add_body(p, at, len);
        add(p, "\r\n");
        at += len;
    }
    add(p, sl_chance(chance, 3) ? "0\r\n\r\n" : "0\r\nX-Trailer: 1\r\n\r\n");
}

/* Lengths are mostly small, and often those beside the limit. */
static size_t any_length(uint64_t *chance)
{
    return sl_chance(chance, 4) ? sl_chance(chance, 300) : LIMIT - 2 + sl_chance(chance, 5);
}

static void plan(planned *p, uint64_t *chance)
{
    static const int statuses[] = {200, 200, 200, 202, 400, 404, 429, 500, 503, 204};
    static const char *const early[] = {"", "", "", "HTTP/1.1 100 Continue\r\n\r\n",
                                        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"};
    char head[128];
    unsigned framing = sl_chance(chance, 3);
    *p = (planned){.status = statuses[sl_chance(chance, 10)], .body_len = any_length(chance)};
    if (p->status == 204) {
        p->body_len = 0;
        framing = LENGTH;
    }
    for (size_t i = 0; i < p->body_len; i++)
        p->body[i] = "\r\n0aH"[sl_chance(chance, 5)];
    p->close = framing == UNTIL_CLOSE || sl_chance(chance, 5) == 0;
    p->error = p->body_len > LIMIT ? SL_ETOOBIG : 0;
    add(p, early[sl_chance(chance, 5)]);
    (void)snprintf(head, sizeof head, "HTTP/1.1 %d Text\r\nContent-Type: a/b\r\n", p->status);
    add(p, head);
    if (p->close && sl_chance(chance, 2))
        add(p, "Connection: close\r\n");
    if (framing == CHUNKED)
        add(p, "Transfer-Encoding: chunked\r\n\r\n");
    else if (framing == LENGTH && p->status != 204) {
        (void)snprintf(head, sizeof head, "Content-Length: %zu\r\n\r\n", p->body_len);
        add(p, head);
    } else
        add(p, "\r\n");
    if (framing == CHUNKED)
        add_chunked(p, chance);
    else
        add_body(p, 0, p->body_len);
}

/* Reads of any size, so that heads and bodies are cut anywhere. */
static ssize_t recv_some(void *user, int fd, void *data, size_t len)
{
    conversation *c = user;
    size_t most = 1 + sl_chance(&c->chance, sl_chance(&c->chance, 3) ? 20 : 4000);
    return sl_net_ops_libc.recv(NULL, fd, data, len < most ? len : most);
}

static int connect_now(void *user, int fd, const struct sockaddr *addr, socklen_t len)
{
    (void)user;
    return sl_net_ops_libc.connect(NULL, fd, addr, len);
}

static ssize_t send_now(void *user, int fd, const void *data, size_t len, int flags)
{
    (void)user;
    return sl_net_ops_libc.send(NULL, fd, data, len, flags);
}

static sl_http_post *client_of(const http_server *s, const sl_net_ops *ops)
{
    char url[64];
    const char *why = "";
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d/v1/logs", s->port);
    const sl_http_post_options o = {.url = sl_str_c(url),
                                    .content_type = SL_STR("a/b"),
                                    .user_agent = SL_STR("agent"),
                                    .max_answer_bytes = LIMIT,
                                    .ops = ops};
    sl_http_post *client = NULL;
    CHECK_EQ(sl_http_post_new(&o, &client, &why), 0);
    return client;
}

static void check_answer(const planned *p, int error, const sl_http_answer *answer, uint64_t seed, size_t number)
{
    bool right = error == p->error &&
                 (error || (answer->status == p->status && sl_str_eq(answer->body, sl_str_of(p->body, p->body_len)) &&
                            sl_str_eq_c(answer->content_type, "a/b")));
    if (!right)
        sl_test_failed(__FILE__, __LINE__, "seed %llu, answer %zu: %d, status %d, %zu bytes of %zu, wanted %d:\n%.200s",
                       (unsigned long long)seed, number, error, answer->status, answer->body.len, p->body_len, p->error,
                       p->wire);
}

SL_TEST(each_answer_is_the_one_that_was_sent)
{
    static conversation c;
    for (uint64_t seed = 1; seed <= 120; seed++) {
        http_server s;
        unsigned wanted = 0;
        bool open = false;
        const sl_net_ops ops = {.user = &c,
                                .connect = connect_now,
                                .send = send_now,
                                .recv = recv_some,
                                .resolve = sl_net_ops_libc.resolve};
        c.chance = seed;
        for (size_t i = 0; i < ANSWERS; i++) {
            plan(&c.answers[i], &c.chance);
            c.acts[i] = (http_act){.answer = c.answers[i].wire,
                                   .answer_len = c.answers[i].wire_len,
                                   .close = c.answers[i].close || c.answers[i].error};
        }
        REQUIRE(http_start(&s, c.acts, ANSWERS, false));
        sl_http_post *client = client_of(&s, &ops);
        for (size_t i = 0; i < ANSWERS; i++) {
            sl_http_answer answer = {.status = 0};
            int error = sl_http_post_send(client, SL_STR("hello"), sl_mono_ns() + 5000000000u, &answer);
            check_answer(&c.answers[i], error, &answer, seed, i);
            CHECK((error != 0) == (sl_http_post_error(client)[0] != 0));
            wanted += !open;
            open = !c.acts[i].close;
        }
        CHECK_EQ(sl_http_post_connections(client), wanted);
        CHECK_EQ(s.requests, ANSWERS);
        sl_http_post_free(client);
        http_stop(&s);
    }
}
