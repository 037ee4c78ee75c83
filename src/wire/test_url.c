/* URLs, addresses, targets and percent codes, as tables. */
#include "src/wire/url.h"

#include "tests/harness/sl_test.h"

struct good_url {
    const char *text;
    bool tls, v6;
    const char *host;
    int port;
    const char *authority, *target, *path, *query;
};

static const struct good_url good_urls[] = {
    {"http://a", false, false, "a", 80, "a", "/", "/", ""},
    {"https://a", true, false, "a", 443, "a", "/", "/", ""},
    {"HTTPS://A.Example/", true, false, "A.Example", 443, "A.Example", "/", "/", ""},
    {"http://127.0.0.1:8080/v1/chat?x=1&y=?", false, false, "127.0.0.1", 8080, "127.0.0.1:8080", "/v1/chat?x=1&y=?",
     "/v1/chat", "x=1&y=?"},
    {"http://[::1]:80/", false, true, "::1", 80, "[::1]:80", "/", "/", ""},
    {"https://[fe80::1.2.3.4]", true, true, "fe80::1.2.3.4", 443, "[fe80::1.2.3.4]", "/", "/", ""},
    {"http://a/%20b?", false, false, "a", 80, "a", "/%20b?", "/%20b", ""},
    {"http://a:65535//x", false, false, "a", 65535, "a:65535", "//x", "//x", ""},
    {"http://[2001:DB8::1]:1/", false, true, "2001:DB8::1", 1, "[2001:DB8::1]:1", "/", "/", ""},
    {"http://[::]", false, true, "::", 80, "[::]", "/", "/", ""},
    {"http://[1:2:3:4:5:6:7:8]/", false, true, "1:2:3:4:5:6:7:8", 80, "[1:2:3:4:5:6:7:8]", "/", "/", ""},
    {"http://[::ffff:192.0.2.1]:65535/?", false, true, "::ffff:192.0.2.1", 65535, "[::ffff:192.0.2.1]:65535", "/?", "/",
     ""},
    {"http://a:00080/", false, false, "a", 80, "a:00080", "/", "/", ""},
    {"hTtP://x!$&'()*+;=~%41/", false, false, "x!$&'()*+;=~%41", 80, "x!$&'()*+;=~%41", "/", "/", ""},
    {"http://256.256.256.256/", false, false, "256.256.256.256", 80, "256.256.256.256", "/", "/", ""}, /* a name */
    {"http://a/?a=%3F/?", false, false, "a", 80, "a", "/?a=%3F/?", "/", "a=%3F/?"},
    {"http://a/;p=1,2/..", false, false, "a", 80, "a", "/;p=1,2/..", "/;p=1,2/..", ""},
    {"http://a_b-c.d/p@q:r", false, false, "a_b-c.d", 80, "a_b-c.d", "/p@q:r", "/p@q:r", ""},
};

SL_TEST(url_accepted)
{
    for (size_t i = 0; i < sizeof good_urls / sizeof good_urls[0]; i++) {
        const struct good_url *row = &good_urls[i];
        const char *reason = NULL;
        sl_url url;
        if (sl_url_parse(sl_str_c(row->text), &url, &reason) != 0) {
            sl_test_failed(__FILE__, __LINE__, "%s: %s", row->text, reason);
            continue;
        }
        CHECK_EQ(url.tls, row->tls);
        CHECK_EQ(url.host_is_v6, row->v6);
        CHECK_EQ(url.port, row->port);
        CHECK_STR(url.host, row->host);
        CHECK_STR(url.authority, row->authority);
        CHECK_STR(url.target, row->target);
        CHECK_STR(url.path, row->path);
        CHECK_STR(url.query, row->query);
    }
}

SL_TEST(url_refused)
{
    static const sl_str rows[] = {
        {"", 0},
        {"a", 1},
        {"http:/", 6},
        {"http://", 7},
        {"http:///x", 9},
        {"ftp://a/", 8},
        {"http:a", 6},
        {"//a/", 4},
        {"http://u:p@a/", 13},
        {"http://@a/", 10},
        {"http://a:/", 10},
        {"http://a:0/", 11},
        {"http://a:65536/", 15},
        {"http://a:8x/", 12},
        {"http://a:123456/", 16},
        {"http://:80/", 11},
        {"http://[::1/", 12},
        {"http://[]/", 10},
        {"http://[x]/", 11},
        {"http://[12]/", 12},
        {"http://[::1]x/", 14},
        /* IPv6 addresses as RFC 4291 writes them, without the zones of RFC 6874. */
        {"http://[fe80::1%25eth0]/", 24},
        {"http://[fe80::1%eth0]/", 22},
        {"http://[:::]/", 13},
        {"http://[1::2::3]/", 17},
        {"http://[1:2:3:4:5:6:7]/", 23},
        {"http://[1:2:3:4:5:6:7:8:9]/", 27},
        {"http://[12345::]/", 17},
        {"http://[::1.2.3]/", 17},
        {"http://[::1.2.3.256]/", 21},
        {"http://[::1.2.3.4:5]/", 21},
        {"http://[v1.a]/", 14},
        {"http://[::1]:/", 14},
        {"http://[::1]:0/", 15},
        {"http://[[::1]]/", 15},
        {"http://[::1 ]/", 14},
        {"http://::1/", 11},
        {"http://a]/", 10},
        /* Hosts. */
        {"http://a,b/", 11},
        {"http://a%4/", 11},
        {"http://a%zz/", 12},
        {"http://a|b/", 11},
        {"http://a\\b/", 11},
        {"http://a\t/", 10},
        {"http://\0a/", 10},
        {"http://?", 8},
        {"http://#", 8},
        {"http:////a/", 11},
        {"http:\\\\a/", 9},
        {"https:a", 7},
        {"httpss://a", 10},
        {"javascript:1", 12},
        {"file:///etc", 11},
        /* Ports. */
        {"http://a:+80/", 13},
        {"http://a:-1/", 12},
        {"http://a: 80/", 13},
        {"http://a:80:80/", 15},
        {"http://a:0x50/", 14},
        {"http://a:00000/", 15},
        {"http://a:000080/", 16},
        /* User information hides the host it names. */
        {"http://good.example@evil.example/", 33},
        {"http://good.example:80@evil.example/", 36},
        {"http://:@a/", 11},
        {"http://a@/", 10},
        {"http://a?x", 10},
        {"http://a/#f", 11},
        {"http://a/ b", 11},
        {"http://a/\0b", 11},
        {"http://a/\n", 10},
        {"http://a/\xC3\xA9", 11},
        {"http://a/\"", 10},
        {"http://a/\\", 10},
        {"http://a/%", 10},
        {"http://a/%2", 11},
        {"http://a/%zz", 12},
        {"http://a b/", 11},
        {" http://a/", 10},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *reason = NULL;
        sl_url url;
        memset(&url, 0x5A, sizeof url);
        sl_url before = url;
        if (sl_url_parse(rows[i], &url, &reason) != SL_EPARSE || !reason)
            sl_test_failed(__FILE__, __LINE__, "accepted: %.*s", (int)rows[i].len, rows[i].ptr);
        CHECK(memcmp(&url, &before, sizeof url) == 0);
        CHECK_EQ(sl_url_parse(rows[i], &url, NULL), SL_EPARSE);
    }
    static char text[SL_MAX_URL_BYTES + 1];
    memset(text, 'a', sizeof text);
    memcpy(text, "http://a/", 9);
    sl_url url;
    CHECK_EQ(sl_url_parse(sl_str_of(text, SL_MAX_URL_BYTES), &url, NULL), 0);
    CHECK_EQ(sl_url_parse(sl_str_of(text, SL_MAX_URL_BYTES + 1), &url, NULL), SL_ETOOBIG);
}

SL_TEST(url_cut_anywhere_is_safe)
{
    sl_str text = SL_STR("https://[2001:db8::1]:8443/a/b%20c?d=e%2Ff");
    for (size_t len = 0; len <= text.len; len++) {
        sl_url url;
        (void)!sl_url_parse(sl_str_sub(text, 0, len), &url, NULL);
    }
}

SL_TEST(hostport_peers)
{
    sl_hostport hostport;
    CHECK_EQ(sl_hostport_parse_peer(SL_STR("a.example"), &hostport), 0);
    CHECK(!hostport.has_port);
    CHECK_STR(hostport.host, "a.example");
    CHECK_EQ(sl_hostport_parse_peer(SL_STR("[::1]"), &hostport), 0);
    CHECK_STR(hostport.host, "::1");
    CHECK_EQ(sl_hostport_parse_peer(SL_STR("a:9"), &hostport), 0);
    CHECK_EQ(hostport.port, 9);
    CHECK_EQ(sl_hostport_parse_peer(SL_STR(":9"), &hostport), SL_EPARSE);
    CHECK_EQ(sl_hostport_parse_peer(SL_STR("a:0"), &hostport), SL_EPARSE);
    CHECK_EQ(sl_hostport_parse_peer(SL_STR(""), &hostport), SL_EPARSE);
}

SL_TEST(target_splits)
{
    static const char *const rows[][3] = {
        {"/", "/", ""},
        {"/a", "/a", ""},
        {"/a?", "/a", ""},
        {"/a?b=c?d", "/a", "b=c?d"},
        {"*", "*", ""},
        {"http://a/b?c", "/b", "c"},
        {"http://a", "/", ""},
        {"http://a?c", "/", "c"},
        {"/x?u=http://a/b", "/x", "u=http://a/b"},
        {"/http://a/b", "/http://a/b", ""},
        {"", "/", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sl_str path, query;
        sl_target_split(sl_str_c(rows[i][0]), &path, &query);
        CHECK_STR(path, rows[i][1]);
        CHECK_STR(query, rows[i][2]);
    }
}

SL_TEST(url_decoding)
{
    static const struct {
        const char *text;
        bool plus;
        int error;
        const char *want;
    } rows[] = {
        {"", false, 0, ""},
        {"abc", false, 0, "abc"},
        {"a%20b%2fC%2Fd", false, 0, "a b/C/d"},
        {"a+b", false, 0, "a+b"},
        {"a+b%2B", true, 0, "a b+"},
        {"%e2%82%ac", false, 0, "\xE2\x82\xAC"},
        {"%00", false, SL_EPARSE, ""},
        {"%", false, SL_EPARSE, ""},
        {"a%2", false, SL_EPARSE, ""},
        {"%g0", false, SL_EPARSE, ""},
        {"0123456789abcdefg", false, SL_ELIMIT, ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char buffer[16];
        size_t len = 0;
        CHECK_EQ(sl_url_decode(sl_str_c(rows[i].text), rows[i].plus, buffer, sizeof buffer, &len), rows[i].error);
        CHECK_STR(sl_str_of(buffer, len), rows[i].want);
    }
    char buffer[4];
    size_t len = 7;
    CHECK_EQ(sl_url_decode(SL_STR("a\0"), false, buffer, sizeof buffer, &len), SL_EPARSE);
    CHECK_EQ(len, 7);
}

SL_TEST(query_walk)
{
    sl_str rest = SL_STR("&a=1&&b&c==2&a=3&"), name, value;
    static const char *const want[][2] = {{"a", "1"}, {"b", ""}, {"c", "=2"}, {"a", "3"}};
    for (size_t i = 0; i < 4; i++) {
        CHECK(sl_query_next(&rest, &name, &value));
        CHECK_STR(name, want[i][0]);
        CHECK_STR(value, want[i][1]);
    }
    CHECK(!sl_query_next(&rest, &name, &value));
    CHECK(sl_query_get(SL_STR("a=1&b=2&b=3"), "b", &value));
    CHECK_STR(value, "2");
    CHECK(!sl_query_get(SL_STR("a=1"), "b", &value));
    CHECK(!sl_query_get(SL_STR(""), "b", &value));
}

/* Every byte at every place of a URL: accepted ones keep their parts within the text and read the same again. */
SL_TEST(url_every_byte_everywhere)
{
    static const char good[] = "http://h:1/p?q";
    for (size_t at = 0; at < sizeof good - 1; at++) {
        for (int c = 0; c < 256; c++) {
            char text[sizeof good - 1];
            sl_url url;
            memcpy(text, good, sizeof text);
            text[at] = (char)c;
            if (sl_url_parse(sl_str_of(text, sizeof text), &url, NULL) != 0)
                continue;
            sl_hostport peer;
            CHECK(c > ' ' && c < 0x7F && c != '#' && c != '"' && c != '<' && c != '>' && c != '\\');
            CHECK(url.target.ptr[0] == '/' && url.path.len + url.query.len <= url.target.len);
            CHECK_EQ(sl_hostport_parse_peer(url.authority, &peer), 0);
            CHECK_STR_EQ(peer.host, url.host);
            CHECK_EQ(peer.has_port, url.port_given);
        }
    }
}

SL_TEST(hostport_peers_refused)
{
    static const char *const rows[] = {
        "",     ":",  ":80",   "a:",        "a:x",     "a:65536",  "a:0", "a b",  "a/b",    "u@a",    "[::1",
        "::1]", "[]", "[]:80", "[a]",       "[::1]80", "a:1:2",    "a,b", "a\tb", "a#",     "[::1]:", "[::1%1]",
        "%",    "%4", "%4g",   "[1.2.3.4]", "a\x7f",   "\xC3\xA9", "a\"", "<a>",  "[::1]]", "a?"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sl_hostport peer;
        memset(&peer, 0x5A, sizeof peer);
        sl_hostport before = peer;
        if (sl_hostport_parse_peer(sl_str_c(rows[i]), &peer) != SL_EPARSE)
            sl_test_failed(__FILE__, __LINE__, "accepted %s", rows[i]);
        CHECK(memcmp(&peer, &before, sizeof peer) == 0);
    }
}
