/* The client against a TLS server with a private authority, and against the mock with each of its faults. */
#include "src/export/test_tls_files.h"

#include "src/cli/mock_server.h"
#include "src/llm/test_client_fixture.h"

#define CHAT "{\"choices\":[{\"message\":{\"content\":\"over tls\"},\"finish_reason\":\"stop\"}]}"

/* ---- TLS ---- */

typedef struct site {
    nf_server server;
    SSL_CTX *ctx;
} site;

static void serve_tls(nf_server *server, int fd, int number)
{
    site *s = server->user;
    (void)number;
    SSL *ssl = SSL_new(s->ctx);
    char bytes[16384];
    (void)SSL_set_fd(ssl, fd);
    if (SSL_accept(ssl) == 1) {
        size_t len = 0;
        int n;
        /* Head and body may come in several records: the body ends with the object. */
        while ((n = SSL_read(ssl, bytes + len, (int)(sizeof bytes - len - 1))) > 0) {
            len += (size_t)n;
            bytes[len] = 0;
            if (!strstr(bytes, "\"stream\":false}"))
                continue;
            char answer[512];
            int out = snprintf(answer, sizeof answer, OK_HEAD "Content-Length: %zu\r\n\r\n%s", strlen(CHAT), CHAT);
            server->requests++;
            (void)SSL_write(ssl, answer, out);
            len = 0;
        }
    }
    SSL_free(ssl);
}

SL_TEST(providers_over_tls)
{
    tls_files files;
    site s;
    tls_files_make(&files);
    s.ctx = SSL_CTX_new(TLS_server_method());
    REQUIRE(SSL_CTX_use_certificate_file(s.ctx, files.server_cert, SSL_FILETYPE_PEM) == 1);
    REQUIRE(SSL_CTX_use_PrivateKey_file(s.ctx, files.server_key, SSL_FILETYPE_PEM) == 1);
    nf_server_start(&s.server, serve_tls, &s);
    client *c = client_new(0, false);
    char url[64];
    snprintf(url, sizeof url, "https://127.0.0.1:%u/v1", (unsigned)s.server.port);
    const struct {
        const char *ca;
        bool insecure;
        int error;
    } cases[] = {{files.ca, false, 0}, {files.other_ca, false, SL_ETLS}, {"", false, SL_ETLS}, {"", true, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_llm_endpoint e = {.name = SL_STR("p"),
                             .base_url = sl_str_c(url),
                             .key = SL_STR(KEY),
                             .ca_file = sl_str_c(cases[i].ca),
                             .tls_insecure = cases[i].insecure};
        CHECK_EQ(sl_llm_client_add(c->llm, &e), 0);
        sl_llm_request r = {.operation = SL_LLM_CHAT, .provider = SL_STR("p"), .model = SL_STR("m")};
        client_ask(c, r);
        CHECK_EQ(c->r.error, cases[i].error);
        CHECK_STR(sl_str_c(c->text), cases[i].error ? "" : "over tls");
        if (cases[i].error) {
            CHECK(!c->r.retryable && c->message[0]); /* a certificate does not mend itself */
            CHECK(!strstr(c->message, "plant-"));
        }
    }
    CHECK_EQ(s.server.requests, 2); /* nothing was sent to a server that is not trusted */
    client_free(c);
    nf_server_stop(&s.server);
    SSL_CTX_free(s.ctx);
    tls_files_remove(&files);
}

/* ---- the mock ---- */

typedef struct mock {
    nf_loop l;
    sl_mock_server *server;
    sl_mock_options options;
    uint16_t port;
} mock;

static void mock_close(void *user)
{
    mock *m = user;
    sl_mock_server_close(m->server);
}

static mock *mock_start(const char *fault)
{
    mock *m = calloc(1, sizeof *m);
    const char *reason;
    m->options.tokens = 16;
    m->options.seed = 1;
    if (fault)
        CHECK(sl_mock_parse_fault(sl_str_c(fault), &m->options, &reason));
    int fd = nf_listen(&m->port);
    if (sl_loop_init(&m->l.loop) != 0 || sl_mock_server_new(&m->l.loop, fd, &m->options, &m->server) != 0)
        abort();
    close(fd);
    nf_loop_start(&m->l, mock_close, m);
    return m;
}

static void mock_stop(mock *m)
{
    nf_loop_stop(&m->l);
    sl_mock_server_free(m->server);
    sl_loop_done(&m->l.loop);
    free(m);
}

static sl_llm_request chat(bool anthropic, bool stream)
{
    return (sl_llm_request){.operation = SL_LLM_CHAT,
                            .provider = anthropic ? SL_STR("anthropic") : SL_STR("openai"),
                            .model = SL_STR("mock"),
                            .system = SL_STR("be brief"),
                            .prompt = SL_STR("count these five words please"),
                            .stream = stream};
}

/* Both protocols, whole and streamed, say the same about the same request. */
SL_TEST(the_mock_in_both_dialects)
{
    mock *m = mock_start(NULL);
    client *c = client_new(m->port, false);
    for (int i = 0; i < 4; i++) {
        sl_llm_request r = chat(i & 1, i & 2);
        client_ask(c, r);
        CHECK_EQ(c->r.error, 0);
        CHECK(strncmp(c->text, "This is a mock answer", 21) == 0);
        CHECK_STR(sl_str_c(c->model), "mock");
        CHECK_STR(sl_str_c(c->reason), i & 1 ? "end_turn" : "stop");
        CHECK_EQ(c->r.input_tokens, 7);
        CHECK_EQ(c->r.output_tokens, 16);
        CHECK(!c->r.cost_known);
        CHECK_EQ(c->pieces, i & 2 ? 16 : 0);
        if (i & 2)
            CHECK_STR(sl_str_c(c->streamed), c->text);
    }
    json_t *input = json_pack("[s,s,s]", "one", "two words", "and three words");
    sl_llm_request r = {.operation = SL_LLM_EMBEDDINGS,
                        .provider = SL_STR("openai"),
                        .model = SL_STR("mock"),
                        .input = input,
                        .dimensions = 12};
    client_ask(c, r);
    CHECK_EQ(c->r.error, 0);
    CHECK_EQ(json_array_size(c->vectors), 3);
    CHECK_EQ(json_array_size(json_array_get(c->vectors, 2)), 12);
    CHECK_EQ(c->r.input_tokens, 6);
    json_decref(input);
    client_free(c);
    mock_stop(m);
}

SL_TEST(the_mock_with_each_of_its_faults)
{
    static const struct {
        const char *fault;
        int whole, streamed; /* errors; 1: any */
        bool retryable;
    } cases[] = {
        {"429", SL_ERETRY, SL_ERETRY, true},
        {"500", SL_ERETRY, SL_ERETRY, true},
        {"hang", SL_ETIMEOUT, SL_ETIMEOUT, true},
        {"reset", SL_ECLOSED, SL_ECLOSED, true},
        {"split", 0, 0, false},
        {"nousage", 0, 0, false},
        {"badjson", SL_EPROTO, 1, true},
        {"truncate", SL_ECLOSED, SL_ECLOSED, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mock *m = mock_start(cases[i].fault);
        client *c = client_new(m->port, false);
        for (int k = 0; k < 4; k++) {
            int wanted = k & 2 ? cases[i].streamed : cases[i].whole;
            sl_llm_request r = chat(k & 1, k & 2);
            r.timeout_ms = wanted == SL_ETIMEOUT ? 200 : 8000;
            client_ask(c, r);
            bool good = wanted == 1 || c->r.error == wanted;
            good = good && (!c->r.error || c->r.retryable == cases[i].retryable);
            good = good && (c->r.error ? c->text[0] == 0 : c->text[0] != 0);
            if (!good)
                sl_test_failed(__FILE__, __LINE__, "%s, case %d: error %d \"%s\"", cases[i].fault, k, c->r.error,
                               c->message);
        }
        client_free(c);
        mock_stop(m);
    }
}
