/*
 * For tests: a server that speaks as much of PostgreSQL's protocol (version 3, the manual's chapter "Frontend/Backend
 * Protocol") as a search needs, and misbehaves as it is told. It knows one table, and what it found for it.
 */
#ifndef SL_STORE_TEST_PG_SERVER_H
#define SL_STORE_TEST_PG_SERVER_H

#include <dlfcn.h>

#include "tests/harness/net_fixture.h"

typedef enum ps_mode {
    PS_FINE = 0,
    PS_ERROR,         /* searches fail with `sqlstate` */
    PS_HANG,          /* searches wait until they are cancelled, then fail with 57014 */
    PS_DEAF,          /* searches wait for ever, and nobody listens to who cancels */
    PS_DROP,          /* the connection is closed instead of an answer */
    PS_DROP_ONCE,     /* that, once for each connection that has answered before */
    PS_BIG,           /* rows without end */
    PS_NO_TABLE,      /* there is no such table */
    PS_REFUSE,        /* nobody is let in: `sqlstate` */
    PS_SILENT,        /* nothing is said at all */
    PS_BAD_JSON,      /* metadata that is no JSON */
    PS_OTHER_COLUMNS, /* the first search fails with 42703 */
    PS_GARBAGE        /* what is said is no message */
} ps_mode;

typedef struct ps_server {
    nf_server nf;
    _Atomic ps_mode mode;
    const char *sqlstate;
    _Atomic int connections, open, most_open, searches, describes, cancels;
    pthread_mutex_t lock;
    char query[8192];  /* the last search */
    char values[4096]; /* its values, a bar behind each */
    char said[4096];   /* what else was told, a bar behind each */
    const char *dims;
    const char *refuse;   /* other statements that begin so fail with `sqlstate`; without one the connection ends */
    _Atomic int refusals; /* so often */
    _Atomic bool made;    /* a table: it is there then, whatever the mode */
    _Atomic bool no_extension; /* until it is made */
} ps_server;

#define PS_READY "Z\0\0\0\5I"

NF_UNUSED static bool ps_have_libpq(void)
{
    return dlopen("libpq.so.5", RTLD_NOW | RTLD_LOCAL) != NULL;
}

static uint32_t ps_u32(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;
    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

static bool ps_read(int fd, char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = recv(fd, bytes, len, 0);
        if (n <= 0)
            return false;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

typedef struct ps_text {
    char bytes[4096];
    size_t len;
} ps_text;

static void ps_put(ps_text *t, const void *bytes, size_t len)
{
    if (t->len + len > sizeof t->bytes)
        abort();
    memcpy(t->bytes + t->len, bytes, len);
    t->len += len;
}

static void ps_put_u32(ps_text *t, uint32_t v)
{
    const char b[4] = {(char)(v >> 24), (char)(v >> 16), (char)(v >> 8), (char)v};
    ps_put(t, b, 4);
}

static void ps_put_u16(ps_text *t, unsigned v)
{
    const char b[2] = {(char)(v >> 8), (char)v};
    ps_put(t, b, 2);
}

/* A message of this type with these bytes. */
static bool ps_send(int fd, char type, const void *bytes, size_t len)
{
    ps_text t = {.len = 0};
    ps_put(&t, &type, 1);
    ps_put_u32(&t, (uint32_t)len + 4);
    ps_put(&t, bytes, len);
    return nf_send(fd, t.bytes, t.len);
}

static bool ps_send_error(int fd, const char *severity, const char *sqlstate, const char *text)
{
    ps_text t = {.len = 0};
    const char *const fields[][2] = {{"S", severity}, {"V", severity}, {"C", sqlstate}, {"M", text}};
    for (size_t i = 0; i < 4; i++) {
        ps_put(&t, fields[i][0], 1);
        ps_put(&t, fields[i][1], strlen(fields[i][1]) + 1);
    }
    ps_put(&t, "", 1);
    return ps_send(fd, 'E', t.bytes, t.len);
}

/* Columns of type text. */
static bool ps_send_columns(int fd, unsigned count)
{
    ps_text t = {.len = 0};
    ps_put_u16(&t, count);
    for (unsigned i = 0; i < count; i++) {
        ps_put(&t, "c", 2);
        ps_put_u32(&t, 0);
        ps_put_u16(&t, 0);
        ps_put_u32(&t, 25);
        ps_put_u16(&t, 0xffff);
        ps_put_u32(&t, 0xffffffff);
        ps_put_u16(&t, 0);
    }
    return ps_send(fd, 'T', t.bytes, t.len);
}

/* A row; NULL is null. */
static bool ps_send_row(int fd, const char *const *values, unsigned count)
{
    ps_text t = {.len = 0};
    ps_put_u16(&t, count);
    for (unsigned i = 0; i < count; i++) {
        ps_put_u32(&t, values[i] ? (uint32_t)strlen(values[i]) : 0xffffffff);
        if (values[i])
            ps_put(&t, values[i], strlen(values[i]));
    }
    return ps_send(fd, 'D', t.bytes, t.len);
}

static bool ps_send_end(int fd)
{
    return ps_send(fd, 'C', "SELECT 1", 9) && nf_send(fd, PS_READY, 6);
}

static bool ps_describe(ps_server *s, int fd)
{
    static const char *const rows[4][8] = {{"public", "docs", "id", "text", "pg_catalog", "-1", "", "t"},
                                           {"public", "docs", "content", "text", "pg_catalog", "-1", "", "f"},
                                           {"public", "docs", "metadata", "jsonb", "pg_catalog", "-1", "", "f"},
                                           {"public", "docs", "embedding", "vector", "public", "2", "", "f"}};
    s->describes++;
    bool good = ps_send_columns(fd, 8);
    for (size_t i = 0; good && (s->mode != PS_NO_TABLE || s->made) && i < 4; i++) {
        const char *row[8];
        memcpy(row, rows[i], sizeof row);
        if (i == 3 && s->dims)
            row[5] = s->dims;
        good = ps_send_row(fd, row, 8);
    }
    return good && ps_send_end(fd);
}

static bool ps_find(ps_server *s, int fd)
{
    static const char *const found[2][6] = {{"a", "0", "{\"lang\":\"en\",\"n\":1}", "alpha", NULL, "20"},
                                            {"b", "0.25", "{}", NULL, "[0,1]", "3"}};
    char big[1024];
    memset(big, 'x', sizeof big);
    big[sizeof big - 1] = '\0';
    const char *const wide[] = {"w", "0", "{}", big, NULL, "1024"}, *const bad[] = {
                                                                        "j", "0", "{\"a\":", NULL, NULL, "5"};
    bool good = ps_send_columns(fd, 6);
    if (s->mode == PS_BIG)
        for (int i = 0; good && i < 100000; i++)
            good = ps_send_row(fd, wide, 6);
    if (s->mode == PS_BAD_JSON)
        good = good && ps_send_row(fd, bad, 6);
    for (size_t i = 0; good && i < 2; i++)
        good = ps_send_row(fd, found[i], 6);
    return good && ps_send_end(fd);
}

/* Waits as a search that takes long does. */
static bool ps_hang(ps_server *s, int fd)
{
    int before = s->cancels;
    for (int i = 0; i < NF_PATIENCE_MS && !s->nf.stopping; i++) {
        if (nf_closed_within(fd, 1))
            return false;
        if (s->mode != PS_DEAF && s->cancels != before)
            return ps_send_error(fd, "ERROR", "57014", "canceling statement due to user request") &&
                   nf_send(fd, PS_READY, 6);
    }
    return false;
}

static bool ps_search(ps_server *s, int fd, int before)
{
    int count = ++s->searches;
    if (s->mode == PS_DROP || (s->mode == PS_DROP_ONCE && before > 0))
        return false;
    if (s->mode == PS_HANG || s->mode == PS_DEAF)
        return ps_hang(s, fd);
    if (s->mode == PS_GARBAGE)
        return nf_send(fd, "what do you mean?", 17);
    if (s->mode == PS_ERROR || s->mode == PS_NO_TABLE || (s->mode == PS_OTHER_COLUMNS && count == 2)) {
        const char *state = s->mode == PS_ERROR ? s->sqlstate : s->mode == PS_NO_TABLE ? "42P01" : "42703";
        bool fatal = strncmp(state, "57P", 3) == 0;
        bool good = ps_send_error(fd, fatal ? "FATAL" : "ERROR", state, "as it was told");
        return good && !fatal && nf_send(fd, PS_READY, 6);
    }
    return ps_find(s, fd);
}

static void ps_note(ps_server *s, char *to, size_t size, const char *text)
{
    (void)pthread_mutex_lock(&s->lock);
    size_t len = strlen(to);
    (void)snprintf(to + len, size - len, "%s|", text);
    (void)pthread_mutex_unlock(&s->lock);
}

/* The values of a Bind message: no formats, texts. */
static void ps_take_values(ps_server *s, const char *body)
{
    const char *at = body + strlen(body) + 1;
    at += strlen(at) + 1;
    at += 2 + 2 * (ps_u32(at) >> 16);
    unsigned count = ps_u32(at) >> 16;
    at += 2;
    s->values[0] = '\0';
    for (unsigned i = 0; i < count; i++) {
        uint32_t len = ps_u32(at);
        char text[2048];
        (void)snprintf(text, sizeof text, "%.*s", (int)len, at + 4);
        ps_note(s, s->values, sizeof s->values, text);
        at += 4 + len;
    }
}

/* One statement: Parse, Bind, Describe, Execute, Sync. False: the connection is over. */
static bool ps_statement(ps_server *s, int fd, int before, bool *ret_search)
{
    char head[5], query[8192] = "";
    static _Thread_local char body[65536];
    for (;;) {
        if (!ps_read(fd, head, 5))
            return false;
        size_t len = ps_u32(head + 1) - 4;
        if (head[0] == 'X' || len > sizeof body - 1 || !ps_read(fd, body, len))
            return false;
        body[len] = '\0';
        if (head[0] == 'P')
            (void)snprintf(query, sizeof query, "%s", body + strlen(body) + 1);
        if (head[0] == 'B')
            ps_take_values(s, body);
        if (head[0] == 'S')
            break;
    }
    bool describe = strncmp(query, "SELECT n.nspname", 16) == 0;
    *ret_search = strncmp(query, "SELECT CASE", 11) == 0;
    if (!nf_send(fd,
                 "1\0\0\0\4"
                 "2\0\0\0\4",
                 10))
        return false;
    if (describe)
        return ps_describe(s, fd);
    if (*ret_search) {
        (void)snprintf(s->query, sizeof s->query, "%s", query);
        return ps_search(s, fd, before);
    }
    ps_note(s, s->said, sizeof s->said, query);
    if (s->refuse && strncmp(query, s->refuse, strlen(s->refuse)) == 0 && s->refusals > 0) {
        s->refusals--;
        return s->sqlstate && ps_send_error(fd, "ERROR", s->sqlstate, "it is refused") && nf_send(fd, PS_READY, 6);
    }
    if (strncmp(query, "SELECT nspname", 14) == 0)
        return ps_send_columns(fd, 1) && (s->no_extension || ps_send_row(fd, &(const char *){"ext"}, 1)) &&
               ps_send_end(fd);
    s->made = s->made || strncmp(query, "CREATE TABLE", 12) == 0;
    s->no_extension = s->no_extension && strncmp(query, "CREATE EXTENSION", 16) != 0;
    return nf_send(fd, "n\0\0\0\4", 5) && ps_send(fd, 'C', "SET", 4) && nf_send(fd, PS_READY, 6);
}

/* True when somebody is let in. */
static bool ps_start(ps_server *s, int fd)
{
    char head[8], body[4096];
    for (;;) {
        if (!ps_read(fd, head, 8))
            return false;
        size_t len = ps_u32(head) - 8;
        uint32_t code = ps_u32(head + 4);
        if (len > sizeof body || !ps_read(fd, body, len))
            return false;
        if (code == 80877102) {
            s->cancels += s->mode != PS_DEAF;
            return false;
        }
        if (code == 196608)
            break;
        if (!nf_send(fd, "N", 1)) /* no TLS here */
            return false;
    }
    s->connections++;
    if (s->mode == PS_SILENT) {
        (void)nf_closed_within(fd, NF_PATIENCE_MS);
        return false;
    }
    if (s->mode == PS_REFUSE) {
        (void)ps_send_error(fd, "FATAL", s->sqlstate, "you are not let in");
        return false;
    }
    static const char hello[] = "R\0\0\0\x8\0\0\0\0K\0\0\0\xc\0\0\0\1\0\0\0\2" PS_READY;
    return nf_send(fd, hello, sizeof hello - 1);
}

static void ps_serve(nf_server *server, int fd, int number)
{
    ps_server *s = server->user;
    int searches = 0;
    bool search = false;
    (void)number;
    if (!ps_start(s, fd))
        return;
    int open = ++s->open;
    if (open > s->most_open)
        s->most_open = open;
    while (ps_statement(s, fd, searches, &search))
        searches += search;
    s->open--;
}

NF_UNUSED static void ps_begin(ps_server *s)
{
    memset(s, 0, sizeof *s);
    (void)pthread_mutex_init(&s->lock, NULL);
    nf_server_start(&s->nf, ps_serve, s);
}

NF_UNUSED static void ps_end(ps_server *s)
{
    nf_server_stop(&s->nf);
    (void)pthread_mutex_destroy(&s->lock);
}

/* A connection string for it. */
NF_UNUSED static const char *ps_url(const ps_server *s, char *text, size_t size, const char *more)
{
    (void)snprintf(text, size, "postgres://me:secret@127.0.0.1:%u/db?gssencmode=disable%s", s->nf.port, more);
    return text;
}

#endif
