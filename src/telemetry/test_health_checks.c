/* What each kind of health check says: answers however they are cut, limits at and beside them, calls that fail. */
#include "tests/harness/sl_fail_call.h"

#include "src/telemetry/health_checks.c" /* its checks, called as their threads do */

#include "src/net/lite/test_http_server.h"

#define REASON 256

/* ---- answers ---- */

typedef struct answer_row {
    const char *bytes;
    int error, status;
} answer_row;

#define EARLY "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"

static const answer_row answers[] = {
    {"HTTP/1.1 200 OK\r\n\r\n", 0, 200},
    {"HTTP/1.0 200 OK\r\nServer: x\r\n\r\nbody", 0, 200},
    {"HTTP/1.1 204 No Content\r\n\r\n", 0, 204},
    {"HTTP/1.1 500 Oh\r\nContent-Length: 3\r\n\r\nno!", 0, 500},
    {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", 0, 200},
    {EARLY EARLY "HTTP/1.1 503 Down\r\n\r\n", 0, 503},
    {EARLY, SL_ECLOSED, 0},
    {"", SL_ECLOSED, 0},
    {"HTTP/1.1 2", SL_ECLOSED, 0},
    {"HTTP/1.1 200 OK\r\nServer", SL_ECLOSED, 0},
    {"SSH-2.0-OpenSSH_9.2\r\n\r\n", SL_EPROTO, 0},
    {"HTTP/1.1 2x0 OK\r\n\r\n", SL_EPROTO, 0},
    {"HTTP/1.1 200 OK\nServer: x\n\n", SL_EPROTO, 0},
    {"\x16\x03\x01\x02\r\n\r\n", SL_EPROTO, 0},
};

/* Each packet is what one read gives. */
static int status_of(const char *bytes, size_t len, size_t cut, size_t again, int *ret_status)
{
    char room[MAX_ANSWER_HEAD];
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) != 0)
        return SL_EIO;
    for (size_t at = 0; at < len;) {
        size_t end = at < cut ? cut : at < again ? again : len;
        CHECK_EQ(send(pair[1], bytes + at, end - at, 0), end - at);
        at = end;
    }
    close(pair[1]);
    int error = receive_status(pair[0], room, sizeof room, sl_deadline_ns(2000), ret_status);
    close(pair[0]);
    return error;
}

SL_TEST(answers_however_they_are_cut)
{
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        size_t len = strlen(answers[i].bytes);
        for (size_t cut = 0; cut <= len; cut++) {
            for (size_t again = cut; again <= len; again += 7) {
                int status = 0, error = status_of(answers[i].bytes, len, cut, again, &status);
                if (error != answers[i].error || status != answers[i].status) {
                    sl_test_failed(__FILE__, __LINE__, "row %zu cut at %zu and %zu: %d, status %d", i, cut, again,
                                   error, status);
                    return;
                }
            }
        }
    }
}

/* A head that fills the room to the last byte is read; one byte more, and whoever talks on and on, is refused. */
SL_TEST(heads_at_the_limit)
{
    for (size_t over = 0; over < 2; over++) {
        static char text[MAX_ANSWER_HEAD + 64];
        size_t at = (size_t)sprintf(text, "HTTP/1.1 200 OK\r\nX: ");
        while (at < MAX_ANSWER_HEAD + over - 4)
            text[at++] = 'x';
        memcpy(text + at, "\r\n\r\n", 4);
        int status = 0;
        CHECK_EQ(status_of(text, at + 4, 0, 0, &status), over ? SL_EPROTO : 0);
        CHECK_EQ(status, over ? 0 : 200);
    }
    static char hints[MAX_ANSWER_HEAD + 100];
    size_t at = 0;
    while (at < MAX_ANSWER_HEAD)
        at += (size_t)sprintf(hints + at, EARLY);
    int status = 0;
    CHECK_EQ(status_of(hints, at, 0, 0, &status), SL_EPROTO);
}

SL_TEST(who_says_nothing_is_waited_for_until_the_deadline)
{
    char room[256];
    int pair[2], status = 0;
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    uint64_t begun = sl_mono_ns();
    CHECK_EQ(receive_status(pair[0], room, sizeof room, sl_deadline_ns(30), &status), SL_ETIMEOUT);
    CHECK(sl_mono_ns() - begun >= 29000000u);
    close(pair[0]);
    close(pair[1]);
}

/* ---- limits ---- */

SL_TEST(memory_at_its_limit)
{
    uint64_t bytes = 0;
    char reason[REASON];
    static const struct {
        uint64_t parts; /* of what is resident, in hundredths */
        sl_health_status status;
        const char *reason;
    } rows[] = {
        {20, SL_UNHEALTHY, "is above the limit of"},
        {95, SL_UNHEALTHY, "is above the limit of"},
        {105, SL_DEGRADED, "is above 90 % of the limit of"},
        {130, SL_HEALTHY, ""},
        {1000, SL_HEALTHY, ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        REQUIRE(resident_bytes(&bytes));
        target t = {.limit_bytes = bytes / 100 * rows[i].parts};
        reason[0] = 0;
        CHECK_EQ(check_memory(&t, reason, sizeof reason), rows[i].status);
        CHECK(strstr(reason, rows[i].reason) != NULL && !reason[0] == !rows[i].reason[0]);
    }
}

SL_TEST(disk_at_its_limit)
{
    struct statvfs fs;
    char reason[REASON];
    REQUIRE(statvfs("/", &fs) == 0);
    uint64_t there = (uint64_t)fs.f_bavail * fs.f_frsize;
    static const struct {
        const char *path;
        uint64_t times; /* what is there, in hundredths */
        sl_health_status status;
        const char *reason;
    } rows[] = {
        {"/", 0, SL_HEALTHY, ""},
        {"/", 50, SL_HEALTHY, ""},
        {"/", 200, SL_UNHEALTHY, "MiB are free at /, less than"},
        {"/nonexistent/folder", 0, SL_UNHEALTHY, "/nonexistent/folder: No such file or directory"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        target t = {.path = rows[i].path, .limit_bytes = there / 100 * rows[i].times};
        reason[0] = 0;
        CHECK_EQ(check_disk(&t, reason, sizeof reason), rows[i].status);
        CHECK(strstr(reason, rows[i].reason) != NULL && !reason[0] == !rows[i].reason[0]);
    }
}

/* What cannot be a check is refused before a thread is made. */
SL_TEST(checks_that_cannot_be)
{
    static const char *const addresses[] = {NULL,         "",    "host",   "host:", "host:0",
                                            "host:65536", ":80", "a b:80", "[::1]"};
    static const struct {
        const char *url;
        int error;
    } urls[] = {{NULL, SL_EINVAL},
                {"", SL_EINVAL},
                {"host/path", SL_EINVAL},
                {"ftp://host/", SL_EINVAL},
                {"https://host/", SL_ENOTSUP},
                {"http://user@host/", SL_EINVAL},
                {"http://host:0/", SL_EINVAL}};
    sl_health *health = sl_health_new();
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++)
        CHECK_EQ(sl_health_add_tcp(health, "x", addresses[i], NULL), SL_EINVAL);
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++)
        CHECK_EQ(sl_health_add_http(health, "x", urls[i].url, NULL), urls[i].error);
    CHECK_EQ(sl_health_add_memory(health, "x", 0, NULL), SL_EINVAL);
    CHECK_EQ(sl_health_add_disk(health, "x", NULL, 1, NULL), SL_EINVAL);
    CHECK_EQ(sl_health_add_disk(health, "x", "", 1, NULL), SL_EINVAL);
    CHECK_EQ(sl_health_readiness(health), SL_HEALTHY); /* none of them was added */
    sl_health_free(health);
}

/* ---- calls that fail ---- */

static void each_check(void *user)
{
    const http_server *server = user;
    char port[8], reason[REASON] = "";
    (void)snprintf(port, sizeof port, "%d", server->port);
    static const char request[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    target http = {.host = "127.0.0.1", .port = port, .request = request, .request_len = sizeof request - 1};
    http.timeout_ms = 3000;
    struct {
        sl_health_fn check;
        target t;
    } rows[] = {{check_http, http},
                {check_tcp, http},
                {check_memory, {.limit_bytes = 1ull << 50}},
                {check_disk, {.path = "/", .limit_bytes = 1}}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool before = sl_fail.hit;
        reason[0] = 0;
        sl_health_status status = rows[i].check(&rows[i].t, reason, sizeof reason);
        bool harmed = sl_fail.hit && !before;
        if (status != SL_HEALTHY && (!harmed || !reason[0]))
            sl_test_failed(__FILE__, __LINE__, "check %zu, call %d, errno %d: %d (%s)", i, (int)sl_fail.call,
                           sl_fail.error, (int)status, reason);
    }
}

SL_TEST(a_call_that_fails_is_one_check_that_says_why)
{
    static const sl_fail_row rows[] = {{SL_CALL_SOCKET, EMFILE},
                                       {SL_CALL_CONNECT, ECONNREFUSED},
                                       {SL_CALL_CONNECT, ENETUNREACH},
                                       {SL_CALL_SEND, EPIPE},
                                       {SL_CALL_SEND, EAGAIN},
                                       {SL_CALL_SEND, 0},
                                       {SL_CALL_RECV, ECONNRESET},
                                       {SL_CALL_RECV, EINTR},
                                       {SL_CALL_RECV, 0},
                                       {SL_CALL_OPEN, EMFILE},
                                       {SL_CALL_READ, EIO},
                                       {SL_CALL_STATVFS, EIO}};
    static const http_act act = {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", .close = true};
    http_server server;
    REQUIRE(http_start(&server, &act, 1, false));
    size_t failed = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (long nth = 0; nth < 100; nth++, failed++) {
            sl_fail_arm(rows[i], nth);
            each_check(&server);
            if (!sl_fail_disarm())
                break;
        }
    }
    CHECK(failed >= 14);
    http_stop(&server);
}
