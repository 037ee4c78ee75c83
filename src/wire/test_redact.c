/* Sensitive keys and masked texts. */
#include "src/wire/redact.h"

#include <time.h>

#include "tests/harness/sl_test.h"

SL_TEST(sensitive_keys)
{
    static const char *const yes[] = {"password",
                                      "Password",
                                      "db.password",
                                      "user_passwd",
                                      "PWD",
                                      "secret",
                                      "client_secret",
                                      "clientSecret",
                                      "AWS_SECRET_ACCESS_KEY",
                                      "token",
                                      "access_token",
                                      "accessToken",
                                      "auth-token",
                                      "id_token",
                                      "refresh.token",
                                      "github_token",
                                      "api_key",
                                      "apikey",
                                      "apiKey",
                                      "X-API-Key",
                                      "OPENAI_API_KEY",
                                      "authorization",
                                      "http.request.header.authorization",
                                      "Proxy-Authorization",
                                      "cookie",
                                      "Set-Cookie",
                                      "credential",
                                      "google.credentials",
                                      "private_key",
                                      "privateKey",
                                      "ssh_key",
                                      "encryption-key",
                                      "bearer",
                                      "passphrase",
                                      "jwt",
                                      "master_key",
                                      "LITELLM_MASTER_KEY",
                                      "token_value",
                                      "APIKey"};
    static const char *const no[] = {"tokens",
                                     "gen_ai.usage.input_tokens",
                                     "gen_ai.usage.output_tokens",
                                     "llm.tokens.prompt",
                                     "max_tokens",
                                     "max_token",
                                     "token_count",
                                     "llm.token_count.prompt",
                                     "gen_ai.token.type",
                                     "gen_ai.client.token.usage",
                                     "gen_ai.server.time_to_first_token",
                                     "gen_ai.server.time_per_output_token",
                                     "prompt_token",
                                     "token.type",
                                     "total_token",
                                     "token_limit",
                                     "eos_token",
                                     "user.id",
                                     "session.id",
                                     "http.route",
                                     "key",
                                     "primary_key_name",
                                     "keyboard",
                                     "secretary",
                                     "author",
                                     "authority",
                                     "cookies_are_not_here_but_cookiecutter",
                                     "monkey",
                                     "name",
                                     "",
                                     "...",
                                     "gen_ai.system",
                                     "tokenizer",
                                     "passenger"};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
        if (!sl_key_is_sensitive(sl_str_c(yes[i])))
            sl_test_failed(__FILE__, __LINE__, "not sensitive: %s", yes[i]);
    }
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++) {
        bool listed = strstr(no[i], "cookies_are") != NULL; /* holds the word "cookies": masked on purpose */
        if (sl_key_is_sensitive(sl_str_c(no[i])) != listed)
            sl_test_failed(__FILE__, __LINE__, "sensitive: %s", no[i]);
    }
}

#define R "[REDACTED]"
#define JWT "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"

static const struct {
    const char *in, *out;
} texts[] = {
    {"", ""},
    {"nothing secret here", "nothing secret here"},
    {"Incorrect API key provided: sk-proj-abc_DEF123.", "Incorrect API key provided: " R "."},
    {"sk-dev-key", R},
    {"sk-1", "sk-1"},
    {"task-manager-service", "task-manager-service"},
    {"key AKIAIOSFODNN7EXAMPLE rejected", "key " R " rejected"},
    {"Authorization: Bearer abcDEF123.456", "Authorization: Bearer " R},
    {"authorization: bearer abcdefghijklmnopqrst", "authorization: bearer " R},
    {"Basic dXNlcjpwYXNz==", "Basic " R},
    {"basic auth failed", "basic auth failed"},
    {"the bearer of news", "the bearer of news"},
    {"GET /v1/models?key=AbCd&x=1", "GET /v1/models?key=" R "&x=1"},
    {"GET /?a=1&key=AbCd", "GET /?a=1&key=" R},
    {"the key=value store", "the key=value store"},
    {"x-api-key: 0123abc, accept: */*", "x-api-key: " R ", accept: */*"},
    {"{\"api_key\":\"abc\\\"def\",\"model\":\"m\"}", "{\"api_key\":\"" R "\",\"model\":\"m\"}"},
    {"{\\\"api_key\\\": \\\"abc\\\", \\\"m\\\": 1}", "{\\\"api_key\\\": \\\"" R "\\\", \\\"m\\\": 1}"},
    {"password = 'two words' end", "password = '" R "' end"},
    {"password=hunter2", "password=" R},
    {"input_tokens=5 max_tokens: 7", "input_tokens=5 max_tokens: 7"},
    {"postgres://user:pass@host/db", "postgres://" R "@host/db"},
    {"http://host:80/path@x", "http://host:80/path@x"},
    {"jwt " JWT " end", "jwt " R " end"},
    {"eyJ is no token", "eyJ is no token"},
    {"token ghp_0123456789abcdefghijABCDEFGHIJ012345", "token " R},
    {"two sk-aaaaaa1 and sk-bbbbbb2", "two " R " and " R},
    {"\xC3\xA4 password=\xC3\xA4\xC3\xB6 \xE2\x82\xAC", "\xC3\xA4 password=" R " \xE2\x82\xAC"},
    {"token:", "token:"},
    /* A header line whose scheme nobody knows is masked whole; a known one stays. */
    {"Authorization: Token 0123abcd", "Authorization: " R},
    {"Authorization: Digest username=\"u\", response=\"0a\"\r\nHost: a", "Authorization: " R "\r\nHost: a"},
    {"Proxy-Authorization: Negotiate YII=\nx", "Proxy-Authorization: " R "\nx"},
    {"Authorization: Bearer abc", "Authorization: Bearer " R},
    {"authorization: Bearer abc, model: m", "authorization: Bearer " R ", model: m"},
    {"Authorization:Basic   dTpw", "Authorization:Basic   " R},
    {"Cookie: a=b; c=\"d\"; e=f\nHost: a", "Cookie: " R "\nHost: a"},
    {"Set-Cookie: id=1; Path=/", "Set-Cookie: " R},
    {"curl -H 'Authorization: Token abc' -d x", "curl -H 'Authorization: " R "' -d x"},
    {"{\"Authorization\": \"Token abc\", \"m\": 1}", "{\"Authorization\": \"" R "\", \"m\": 1}"},
    {"{\"Authorization\": \"Bearer abc def\", \"m\": 1}", "{\"Authorization\": \"Bearer " R "\", \"m\": 1}"},
    {"{'Cookie': 'a=b; c=d'}", "{'Cookie': '" R "'}"},
    {"the authorization was refused: try again", "the authorization was refused: try again"},
    {"the cookie is a kind of: biscuit", "the cookie is a kind of: biscuit"},
    {"password=a\nnext", "password=" R "\nnext"},
    {"PASSWORD : a,b", "PASSWORD : " R ",b"},
    {"db.password=\"a\\\"b\"c", "db.password=\"" R "\"c"},
    {"secret = \"never closed", "secret = \"" R},
    {"https://user@host/", "https://" R "@host/"},
    {"https://u:p@h/?q=a@b", "https://" R "@h/?q=a@b"},
    {"-----BEGIN PRIVATE KEY-----\nMIIB\nAA==\n-----END PRIVATE KEY-----\nrest", R "\nrest"},
    {"key: -----BEGIN RSA PRIVATE KEY-----\\nMII", "key: " R},
    {"-----BEGIN ENCRYPTED PRIVATE KEY-----x-----END ENCRYPTED PRIVATE KEY-----y", R "y"},
    {"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
     "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"},
    {"-----BEGIN ", "-----BEGIN "},
    {"AKIAIOSFODNN7EXAMPL", "AKIAIOSFODNN7EXAMPL"}, /* one character short */
    {"xsk-abcdef1 _sk-abcdef1 .sk-abcdef1", "xsk-abcdef1 _" R " ." R},
    {"token=\"", "token=\""},
};

SL_TEST(texts_are_masked)
{
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        sl_buf out;
        sl_buf_init(&out, 1000);
        CHECK_EQ(sl_redact_text(sl_str_c(texts[i].in), &out), 0);
        CHECK_STR(sl_buf_str(&out), texts[i].out);
        sl_buf again;
        sl_buf_init(&again, 1000);
        CHECK_EQ(sl_redact_text(sl_buf_str(&out), &again), 0); /* masking twice changes no more than brackets */
        CHECK(again.len <= out.len + 2 * sizeof R);
        for (size_t len = 0; len < strlen(texts[i].in); len++) {
            sl_buf_clear(&again);
            CHECK_EQ(sl_redact_text(sl_str_of(texts[i].in, len), &again), 0);
        }
        sl_buf_done(&again);
        sl_buf_done(&out);
    }
    sl_buf small;
    sl_buf_init(&small, 5);
    CHECK_EQ(sl_redact_text(SL_STR("much too long"), &small), SL_ELIMIT);
    sl_buf_done(&small);
}

/* Texts that look like the beginning of a token at every step must not cost the square of their length. */
static uint64_t own_cpu_ns(void)
{
    struct timespec t = {0, 0};
    CHECK_EQ(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t), 0);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

SL_TEST(addresses_are_shown_without_who_may_come)
{
    static const struct {
        const char *url, *shown;
    } cases[] = {
        {"http://h:4318/v1/traces", "http://h:4318/v1/traces"},
        {"http://user:pass@h:1/x", "http://[REDACTED]@h:1/x"},
        {"http://user@h", "http://[REDACTED]@h"},
        {"https://a:p@ss@w@h/x?y=z", "https://[REDACTED]@h/x?y=z"},
        {"http://user:pa/ss@h", "http://[REDACTED]@h"},
        {"user:pass@h:4318", "[REDACTED]@h:4318"},
        {"nats://u:p@[::1]:4222", "nats://[REDACTED]@[::1]:4222"},
        {"http://h/?api_key=planted", "http://h/?api_key=[REDACTED]"},
        {"http://@h", "http://[REDACTED]@h"},
        {"http://u:p@", "http://[REDACTED]@"},
        {"", ""},
        {"://", "://"},
        {"@", "[REDACTED]@"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[128];
        sl_redact_url(sl_str_c(cases[i].url), text, sizeof text);
        CHECK_STR(sl_str_c(text), cases[i].shown);
    }
}

/* However short the room and wherever it ends: nothing of what stands before the '@'. */
SL_TEST(addresses_are_cut_after_they_were_masked)
{
    static const char url[] = "https://name:planted-password@caf\xc3\xa9.org/some/where";
    for (size_t size = sizeof SL_REDACTED + 1; size < 80; size++) {
        char text[80];
        memset(text, 'x', sizeof text);
        sl_redact_url(sl_str_c(url), text, size);
        CHECK(strlen(text) < size && sl_utf8_valid(sl_str_c(text)));
        CHECK(!strstr(text, "pl") && !strstr(text, "name"));
    }
    char text[64];
    sl_test_fail_alloc(0);
    sl_redact_url(sl_str_c(url), text, sizeof text);
    CHECK(sl_test_alloc_failed());
    sl_test_fail_alloc(-1);
    CHECK_STR(sl_str_c(text), SL_REDACTED);
}

/* At every place of the cut nothing of the secret is left, and what comes before it is. */
SL_TEST(what_the_cut_goes_through_is_left_out)
{
    static const char secret[] = "sk-AbCdEfGh0123456789AbCdEfGh0123456789";
    static char text[4096];
    for (size_t place = 1500; place < 1500 + sizeof secret + 4; place++) {
        sl_buf out;
        sl_buf_init(&out, 8192);
        memset(text, 'x', sizeof text);
        for (size_t i = 9; i < sizeof text; i += 10)
            text[i] = ' ';
        memcpy(text + 1502, secret, sizeof secret - 1);
        text[1501] = ' ';
        CHECK_EQ(sl_redact_beginning(sl_str_of(text, sizeof text), place, &out), 0);
        sl_str seen = sl_buf_str(&out);
        CHECK_EQ(sl_str_find(seen, SL_STR("AbCd")), SL_NPOS);
        CHECK(seen.len >= 1490 && seen.len <= place + 16);
        CHECK(memcmp(seen.ptr, text, 1490) == 0);
        sl_buf_done(&out);
    }
}

SL_TEST(beginnings_that_need_no_cut_or_have_no_words)
{
    static char text[4096];
    static const struct {
        size_t len, max, want;
        char fill;
    } cases[] = {
        {0, 2000, 0, 'x'},       {2000, 2000, 2000, 'x'}, {2001, 2000, 2000, 'x'},       {1999, 2000, 1999, ' '},
        {4096, 2000, 2000, ' '}, {4096, 1025, 1025, 'x'}, {4096, 2000, 1999, (char)0xc3}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_buf out;
        sl_buf_init(&out, 8192);
        memset(text, cases[i].fill, sizeof text);
        if (cases[i].fill == (char)0xc3) { /* letters of two bytes: one begins at 1999 */
            text[0] = 'x';
            for (size_t at = 2; at < sizeof text; at += 2)
                text[at] = (char)0xa9;
        }
        CHECK_EQ(sl_redact_beginning(sl_str_of(text, cases[i].len), cases[i].max, &out), 0);
        CHECK_EQ(sl_buf_str(&out).len, cases[i].want);
        sl_buf_done(&out);
    }
}

SL_TEST(redaction_is_linear)
{
    static char text[256 * 1024];
    static const char *const pieces[] = {"eyJ-",
                                         "eyJ-eyJ.a ",
                                         "bearer ",
                                         "a-",
                                         "://a",
                                         "password = ",
                                         "-----BEGIN ",
                                         "-----BEGIN PRIVATE KEY",
                                         "authorization: ",
                                         "sk-",
                                         "cookie:"};
    for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++) {
        sl_buf out;
        sl_buf_init(&out, 8 * sizeof text);
        for (size_t i = 0; i < sizeof text; i++)
            text[i] = pieces[p][i % strlen(pieces[p])];
        uint64_t before = own_cpu_ns(); /* what others on a busy machine take does not count */
        CHECK_EQ(sl_redact_text(sl_str_of(text, sizeof text), &out), 0);
        CHECK(own_cpu_ns() - before < 2000000000u);
        sl_buf_done(&out);
    }
}
