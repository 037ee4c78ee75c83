/* Listen addresses: text forms, sentences, sockets. */
#include "src/net/lite/addr.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/harness/sl_chance.h"
#include "tests/harness/sl_test.h"

SL_TEST(addr_parse_accepts)
{
    static const struct {
        const char *text, *shown;
        bool loopback;
    } cases[] = {
        {"4000", "127.0.0.1:4000", true},
        {":4000", "127.0.0.1:4000", true},
        {"0", "127.0.0.1:0", true},
        {" 65535 ", "127.0.0.1:65535", true},
        {"0.0.0.0:80", "0.0.0.0:80", false},
        {"*:80", "0.0.0.0:80", false},
        {"127.8.9.1:80", "127.8.9.1:80", true},
        {"LocalHost:1", "LocalHost:1", true},
        {"example.test:1", "example.test:1", false},
        {"[::1]:4317", "[::1]:4317", true},
        {"[::]:4317", "[::]:4317", false},
        {"[fe80::1%eth0]:1", "[fe80::1%eth0]:1", false},
        {"off", "off", false},
        {"OFF", "off", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_addr addr;
        char text[SL_ADDR_TEXT_MAX], reason[SL_ADDR_REASON_MAX] = "";
        if (sl_addr_parse(sl_str_c(cases[i].text), "127.0.0.1", &addr, reason) != 0) {
            sl_test_failed(__FILE__, __LINE__, "%s: %s", cases[i].text, reason);
            continue;
        }
        sl_addr_format(&addr, text);
        CHECK_STR(sl_str_c(text), cases[i].shown);
        CHECK_EQ(sl_addr_is_loopback(&addr), cases[i].loopback);
    }
}

SL_TEST(addr_parse_refuses)
{
    static const char *const cases[] = {"",        "x",      "65536",     "-1",          "127.0.0.1",
                                        "a:b",     "::1:80", "[::1]",     "[::1]80",     "[]:80",
                                        "[::1:80", "a b:80", "host:80/x", "http://a:80", "a:80:90",
                                        "+80",     "host:",  "0x50",      "a\"b:80",     "99999999999999999999999"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_addr addr = {false, 77, "before"};
        char reason[SL_ADDR_REASON_MAX] = "";
        int error = sl_addr_parse(sl_str_c(cases[i]), "127.0.0.1", &addr, reason);
        if (error != SL_EPARSE)
            sl_test_failed(__FILE__, __LINE__, "%s is accepted", cases[i]);
        CHECK_EQ(addr.port, 77);
        CHECK(sl_str_find(sl_str_c(reason), SL_STR("write HOST:PORT")) != SL_NPOS);
    }
    sl_addr addr;
    CHECK_EQ(sl_addr_parse(SL_STR("nonsense:"), "127.0.0.1", &addr, NULL), SL_EPARSE);
}

SL_TEST(addr_parse_refuses_long_hosts)
{
    char text[400];
    memset(text, 'a', sizeof text);
    memcpy(text + 300, ":80", 4);
    sl_addr addr;
    char reason[SL_ADDR_REASON_MAX];
    CHECK_EQ(sl_addr_parse(sl_str_c(text), "127.0.0.1", &addr, reason), SL_EPARSE);
    CHECK(strlen(reason) < SL_ADDR_REASON_MAX);
}

SL_TEST(addr_listen_reports_the_port)
{
    sl_addr want, got, again;
    int fd = -1;
    char reason[SL_ADDR_REASON_MAX] = "";
    REQUIRE(sl_addr_parse(SL_STR("0"), "127.0.0.1", &want, reason) == 0);
    REQUIRE(sl_addr_listen(&want, NULL, &fd, &got, reason) == 0);
    CHECK(got.port != 0);
    CHECK_STR(sl_str_c(got.host), "127.0.0.1");
    CHECK((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    REQUIRE(sl_addr_of_socket(fd, &again) == 0);
    CHECK_EQ(again.port, got.port);

    int second = -1;
    CHECK_EQ(sl_addr_listen(&got, NULL, &second, NULL, reason), SL_EEXIST);
    CHECK(strstr(reason, "choose another port") != NULL);
    CHECK_EQ(second, -1);
    close(fd);
    /* Free again at once. */
    REQUIRE(sl_addr_listen(&got, NULL, &second, NULL, reason) == 0);
    close(second);
}

SL_TEST(addr_listen_shares_a_port)
{
    sl_addr want, got;
    int fd = -1, second = -1;
    sl_addr_listen_options options = {true, 16};
    REQUIRE(sl_addr_parse(SL_STR("0"), "127.0.0.1", &want, NULL) == 0);
    REQUIRE(sl_addr_listen(&want, &options, &fd, &got, NULL) == 0);
    CHECK_EQ(sl_addr_listen(&got, &options, &second, NULL, NULL), 0);
    close(fd);
    close(second);
}

SL_TEST(addr_listen_explains)
{
    sl_addr addr;
    int fd = -1;
    char reason[SL_ADDR_REASON_MAX] = "";
    REQUIRE(sl_addr_parse(SL_STR("192.0.2.7:0"), "127.0.0.1", &addr, reason) == 0);
    CHECK_EQ(sl_addr_listen(&addr, NULL, &fd, NULL, reason), SL_ENOENT);
    CHECK(strstr(reason, "0.0.0.0 for all") != NULL);
    REQUIRE(sl_addr_parse(SL_STR("no-such-host.invalid:0"), "127.0.0.1", &addr, reason) == 0);
    CHECK_EQ(sl_addr_listen(&addr, NULL, &fd, NULL, reason), SL_ERESOLVE);
    CHECK(strstr(reason, "no-such-host.invalid") != NULL);
    REQUIRE(sl_addr_parse(SL_STR("off"), "127.0.0.1", &addr, reason) == 0);
    CHECK_EQ(sl_addr_listen(&addr, NULL, &fd, NULL, reason), SL_EINVAL);
    CHECK_EQ(fd, -1);
}

/* ---- against a model ---- */

/* The rule, said another way: what stands in the grammar HOST:PORT, PORT, :PORT, [HOST]:PORT. */
static bool model_is_host(const char *host, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:%", host[i]))
            return false;
    }
    return true;
}

static bool model_parse(const char *text, char *host, unsigned *port)
{
    const char *at = strrchr(text, ':');
    const char *digits = at ? at + 1 : text;
    size_t len = at ? (size_t)(at - text) : 0;
    bool bracketed = text[0] == '[';
    if (bracketed && (len < 3 || text[len - 1] != ']'))
        return false;
    const char *name = bracketed ? text + 1 : text;
    len = bracketed ? len - 2 : len;
    if (!bracketed && memchr(name, ':', len))
        return false;
    if (!digits[0] || strspn(digits, "0123456789") != strlen(digits) || strlen(digits) > 9 ||
        strtol(digits, NULL, 10) > 65535)
        return false;
    if (len == 1 && name[0] == '*') {
        (void)snprintf(host, 64, "0.0.0.0");
    } else if (!model_is_host(name, len)) {
        return false;
    } else {
        (void)snprintf(host, 64, "%.*s", len ? (int)len : 9, len ? name : "127.0.0.1");
    }
    *port = (unsigned)strtoul(digits, NULL, 10);
    return true;
}

/* Texts by chance are taken and refused as the model does; what is taken is shown so that it reads back the same. */
SL_TEST(addr_texts_by_chance_against_a_model)
{
    static const char *const pieces[] = {"[", "]", ":",  ":",     "::1",   "127.0.0.1", "localhost", "a", "-", "*",
                                         "0", "8", "80", "65535", "65536", "/",         "%",         ".", "_", "Z"};
    uint64_t state = 21;
    size_t taken = 0;
    for (unsigned round = 0; round < 200000; round++) {
        char text[64] = "", host[64] = "", shown[SL_ADDR_TEXT_MAX];
        unsigned port = 0;
        size_t len = 0;
        for (unsigned i = sl_chance(&state, 6); i > 0; i--)
            len += (size_t)snprintf(text + len, sizeof text - len, "%s",
                                    pieces[sl_chance(&state, sizeof pieces / sizeof *pieces)]);
        sl_addr addr, again;
        bool wanted = model_parse(text, host, &port);
        int error = sl_addr_parse(sl_str_c(text), "127.0.0.1", &addr, NULL);
        if ((error == 0) != wanted) {
            sl_test_failed(__FILE__, __LINE__, "\"%s\": %d", text, error);
            break;
        }
        if (error)
            continue;
        taken++;
        CHECK_STR(sl_str_c(addr.host), host);
        CHECK_EQ(addr.port, port);
        sl_addr_format(&addr, shown);
        CHECK_EQ(sl_addr_parse(sl_str_c(shown), "other", &again, NULL), 0);
        CHECK_STR(sl_str_c(again.host), addr.host);
        CHECK_EQ(again.port, addr.port);
    }
    CHECK(taken > 1000);
}

/* RFC 1122, 3.2.1.3: 127/8; RFC 4291, 2.5.3: ::1. Only what certainly is this machine counts. */
SL_TEST(addr_loopback)
{
    static const struct {
        const char *host;
        bool loopback;
    } cases[] = {
        {"127.0.0.0", true},
        {"127.255.255.255", true},
        {"126.255.255.255", false},
        {"128.0.0.0", false},
        {"0.0.0.0", false},
        {"10.127.0.1", false},
        {"::1", true},
        {"::", false},
        {"0:0:0:0:0:0:0:1", true},
        {"::2", false},
        {"fe80::1", false},
        {"localhost", true},
        {"LOCALHOST", true},
        {"localhost.example", false},
        {"localhos", false},
        {"notlocalhost", false},
        {"127.0.0.1.example", false},
        {"127.example", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_addr addr;
        memset(&addr, 0, sizeof addr);
        REQUIRE(sl_str_to_c(sl_str_c(cases[i].host), addr.host, sizeof addr.host));
        if (sl_addr_is_loopback(&addr) != cases[i].loopback)
            sl_test_failed(__FILE__, __LINE__, "%s", cases[i].host);
        addr.off = true;
        CHECK(!sl_addr_is_loopback(&addr));
    }
}

/* localhost is ::1 first on most machines, and 127.0.0.1 is what people type. */
SL_TEST(a_name_of_both_families_is_listened_on_by_ipv4)
{
    sl_addr wanted = {.host = "localhost"}, got;
    char reason[SL_ADDR_REASON_MAX] = "";
    int fd = -1;
    REQUIRE(sl_addr_listen(&wanted, NULL, &fd, &got, reason) == 0);
    CHECK_STR(sl_str_c(got.host), "127.0.0.1");
    CHECK(got.port != 0);
    close(fd);
}
