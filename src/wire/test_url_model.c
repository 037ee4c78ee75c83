/* URLs by chance: put together of known parts they are taken apart into the same; with a part that cannot be, refused.
 */
#include "src/wire/url.h"

#include <stdio.h>
#include <stdlib.h>

#include "src/wire/pct.h"
#include "tests/harness/sl_chance.h"
#include "tests/harness/sl_test.h"

#define PICK(list) (list)[sl_chance(chance, sizeof(list) / sizeof *(list))]

static const char *const hosts[] = {
    "a", "localhost", "127.0.0.1", "h-1.example.com", "xn--bcher-kva.ch", "::1", "2001:db8::a", "[", "a b",
    "",  "h\xC3\xA9", "a@b",       "fe80::1%eth0"};
#define GOOD_HOSTS 7
static const char *const ports[] = {"",  "1",     "80", "443", "8080", "65535",
                                    "0", "65536", "x",  "-1",  "1 ",   "99999999999"};
#define GOOD_PORTS 6
static const char *const paths[] = {
    "",      "/",         "/v1", "/v1/chat/completions", "/a%20b", "/~x/;p=1,2", "//", "/a b", "/%", "/%zz",
    "/\x01", "/\xC3\xA9", "/#x"};
#define GOOD_PATHS 7
static const char *const queries[] = {"", "a=1", "a=1&b=%26", "x?y/z", "q", "a b", "%4", "#", "\x7f"};
#define GOOD_QUERIES 5

/* The parts that make up one URL, by their index; those behind the good ones make it none. */
typedef struct parts {
    size_t host, port, path, query;
    bool tls;
} parts;

static int put_together(const parts *p, char text[256])
{
    bool v6 = strchr(hosts[p->host], ':') != NULL;
    return snprintf(text, 256, "%s://%s%s%s%s%s%s%s%s", p->tls ? "https" : "http", v6 ? "[" : "", hosts[p->host],
                    v6 ? "]" : "", ports[p->port][0] ? ":" : "", ports[p->port], paths[p->path],
                    queries[p->query][0] ? "?" : "", queries[p->query]);
}

static bool can_be(const parts *p)
{
    bool query_without_path = queries[p->query][0] && !paths[p->path][0];
    return p->host < GOOD_HOSTS && p->port < GOOD_PORTS && p->path < GOOD_PATHS && p->query < GOOD_QUERIES &&
           !query_without_path;
}

static void is_taken_apart(const parts *p, const sl_url *u)
{
    char target[128];
    const char *path = paths[p->path][0] ? paths[p->path] : "/";
    (void)snprintf(target, sizeof target, "%s%s%s", path, queries[p->query][0] ? "?" : "", queries[p->query]);
    CHECK_EQ(u->tls, p->tls);
    CHECK_STR(u->host, hosts[p->host]);
    CHECK_EQ(u->host_is_v6, strchr(hosts[p->host], ':') != NULL);
    CHECK_EQ(u->port_given, ports[p->port][0] != 0);
    CHECK_EQ(u->port, ports[p->port][0] ? atoi(ports[p->port]) : p->tls ? 443 : 80);
    CHECK_STR(u->target, target);
    CHECK_STR(u->path, path);
    CHECK_STR(u->query, queries[p->query]);
}

/* Every combination of the parts. */
SL_TEST(urls_are_taken_apart_as_they_were_put_together)
{
    size_t good = 0, bad = 0;
    parts p;
    for (p.host = 0; p.host < sizeof hosts / sizeof *hosts; p.host++) {
        for (p.port = 0; p.port < sizeof ports / sizeof *ports; p.port++) {
            for (p.path = 0; p.path < sizeof paths / sizeof *paths; p.path++) {
                for (p.query = 0; p.query < sizeof queries / sizeof *queries; p.query++) {
                    char text[256];
                    sl_url u;
                    const char *why = NULL;
                    p.tls = (p.host + p.path) % 2;
                    (void)put_together(&p, text);
                    int error = sl_url_parse(sl_str_c(text), &u, &why);
                    good += can_be(&p);
                    bad += !can_be(&p);
                    if ((error == 0) != can_be(&p))
                        sl_test_failed(__FILE__, __LINE__, "%s: %d, %s", text, error, why ? why : "");
                    else if (!error)
                        is_taken_apart(&p, &u);
                    else
                        CHECK(why && why[0]);
                }
            }
        }
    }
    CHECK(good > 1000 && bad > 1000);
}

/* Any bytes, encoded, are a query that says the same when it is read. */
SL_TEST(queries_say_what_was_put_in)
{
    uint64_t state = 3, *chance = &state;
    static const char *const names[] = {"a", "limit", "service"};
    for (int round = 0; round < 3000; round++) {
        char value[24], query[256], decoded[64];
        size_t len = sl_chance(chance, sizeof value), out = 0;
        for (size_t i = 0; i < len; i++)
            value[i] = (char)(1 + sl_chance(chance, 255)); /* anything but NUL */
        const char *name = PICK(names);
        int at = snprintf(query, sizeof query, "%sx=1&%s=", sl_chance(chance, 2) ? "&&" : "", name);
        size_t end = (size_t)at + sl_pct_encode(sl_str_of(value, len), sl_pct_unreserved, query + at);
        end += (size_t)snprintf(query + end, sizeof query - end, "&%s=second", name);
        sl_str found;
        REQUIRE(sl_query_get(sl_str_of(query, end), name, &found));
        CHECK_EQ(sl_url_decode(found, sl_chance(chance, 2), decoded, sizeof decoded, &out), 0);
        CHECK_STR_EQ(sl_str_of(decoded, out), sl_str_of(value, len));
        if (len) {
            CHECK_EQ(sl_url_decode(found, false, decoded, len - 1, &out), SL_ELIMIT);
            CHECK_EQ(sl_url_decode(found, false, decoded, len, &out), 0);
        }
    }
}
