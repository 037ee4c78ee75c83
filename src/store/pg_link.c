/*
 * See pg_link.h.
 *
 * While it connects, the library does not tell the SQLSTATE apart; its texts do when they are verbose, which is how a
 * wrong password is told from a server that starts.
 */
#include "src/store/pg_link.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>

#include "src/base/sync.h"
#include "src/wire/redact.h"

#define CONNECT_TIMEOUT_MS 10000 /* when neither the connection string nor PGCONNECT_TIMEOUT says */
#define CANCEL_TIMEOUT_MS 5000   /* for what is left of a statement that was given up */

/* ---- faults ---- */

void sl_pg_fault_set(sl_pg_fault *fault, sl_pg_kind kind, const char *format, ...)
{
    SL_ASSERT(fault && format && kind != SL_PG_FINE);
    va_list args;
    fault->kind = kind;
    va_start(args, format);
    (void)vsnprintf(fault->reason, sizeof fault->reason, format, args);
    va_end(args);
}

sl_pg_kind sl_pg_kind_of(const char *sqlstate)
{
    static const struct {
        const char *start;
        sl_pg_kind kind;
    } kinds[] = {{"08P01", SL_PG_REFUSED}, {"08", SL_PG_AGAIN},    {"40", SL_PG_AGAIN},      {"53400", SL_PG_REFUSED},
                 {"53", SL_PG_AGAIN},      {"55P03", SL_PG_AGAIN}, {"57014", SL_PG_TIMEOUT}, {"57P04", SL_PG_REFUSED},
                 {"57P", SL_PG_AGAIN},     {"58", SL_PG_AGAIN},    {"42501", SL_PG_REFUSED}, {"22", SL_PG_INPUT},
                 {"42", SL_PG_INPUT}};
    SL_ASSERT(sqlstate);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strncmp(sqlstate, kinds[i].start, strlen(kinds[i].start)) == 0)
            return kinds[i].kind;
    return SL_PG_REFUSED;
}

/* The first line, without what looks like a secret. */
static void set_reason(sl_pg_fault *fault, const char *text)
{
    sl_buf masked;
    sl_buf_init(&masked, 16u * SL_PG_REASON);
    sl_str line = sl_str_of(text, strcspn(text, "\n"));
    bool good = sl_redact_text(sl_str_sub(line, 0, SL_PG_REASON), &masked) == 0;
    sl_str shown = good ? sl_buf_str(&masked) : SL_STR("out of memory");
    (void)snprintf(fault->reason, sizeof fault->reason, "%.*s", (int)shown.len, shown.len ? shown.ptr : "");
    sl_buf_done(&masked);
}

static bool is_sqlstate(const char *text)
{
    for (int i = 0; i < 5; i++)
        if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'A' && text[i] <= 'Z')))
            return false;
    return text[5] == ':' && text[6] == ' ';
}

/* TLS that cannot work does not work the next time; that somebody hung up may. */
static bool is_tls_refusal(const char *text)
{
    bool tls = strstr(text, "SSL") || strstr(text, "certificate");
    return tls && !strstr(text, "SSL SYSCALL") && !strstr(text, "closed unexpectedly") &&
           !strstr(text, "Connection re");
}

/* Takes "XXXXX: " out of "FATAL:  XXXXX: text". False: there is none. */
static bool take_sqlstate(char *line, char *sqlstate)
{
    for (char *at = line; (at = strstr(at, ":  ")); at += 3)
        if (strlen(at) > 9 && is_sqlstate(at + 3)) {
            memcpy(sqlstate, at + 3, 5);
            sqlstate[5] = '\0';
            memmove(at + 2, at + 10, strlen(at + 10) + 1);
            return true;
        }
    return false;
}

/* Several addresses give several lines: the one that a server has answered counts, else the first. */
void sl_pg_connect_fault(const char *text, sl_pg_fault *fault)
{
    SL_ASSERT(text && fault);
    char line[SL_PG_REASON];
    bool told = false;
    fault->broken = true;
    for (const char *at = text; *at && !told;) {
        size_t len = strcspn(at, "\n");
        (void)snprintf(line, sizeof line, "%.*s", (int)(len < sizeof line ? len : sizeof line), at);
        told = take_sqlstate(line, fault->sqlstate);
        at += len + (at[len] != '\0');
    }
    set_reason(fault, told ? line : *text ? text : "the connection failed");
    if (told)
        fault->kind = sl_pg_kind_of(fault->sqlstate);
    else
        fault->kind = is_tls_refusal(text) ? SL_PG_REFUSED : SL_PG_AGAIN;
}

static bool fail_broken(sl_pg_link *link, sl_pg_fault *fault)
{
    const char *text = link->pq->errorMessage(link->conn);
    set_reason(fault, text && *text ? text : "the connection was lost");
    fault->kind = SL_PG_AGAIN;
    fault->broken = true;
    return false;
}

/* Of a result that is an error: what the server says, its detail and hint. */
static void fail_result(sl_pg_link *link, const sl_pq_result *result, sl_pg_fault *fault)
{
    const char *state = link->pq->resultErrorField(result, SL_PQ_SQLSTATE);
    const char *text = link->pq->resultErrorField(result, SL_PQ_PRIMARY);
    const char *hint = link->pq->resultErrorField(result, SL_PQ_HINT);
    if (!state) { /* the library's own: the connection */
        (void)fail_broken(link, fault);
        return;
    }
    (void)snprintf(fault->sqlstate, sizeof fault->sqlstate, "%s", state);
    fault->kind = sl_pg_kind_of(fault->sqlstate);
    fault->broken = strncmp(state, "57P", 3) == 0 || strncmp(state, "08", 2) == 0;
    char line[SL_PG_REASON];
    (void)snprintf(line, sizeof line, "%s%s%s (SQLSTATE %s)", text ? text : "error", hint ? "; " : "", hint ? hint : "",
                   fault->sqlstate);
    set_reason(fault, line);
}

/* ---- waiting ---- */

/* SL_PG_FINE when the socket is ready. */
static sl_pg_kind wait_socket(const sl_pg_link *link, short events, uint64_t deadline_ns)
{
    struct pollfd p[2] = {{link->pq->socket(link->conn), events, 0}, {link->wake, POLLIN, 0}};
    for (;;) {
        uint64_t left = sl_deadline_left_ms(deadline_ns);
        if (left == 0)
            return SL_PG_TIMEOUT;
        int ready = poll(p, 2, left > 3600000 ? 3600000 : (int)left);
        if (p[1].revents)
            return SL_PG_STOPPED;
        if (ready > 0)
            return SL_PG_FINE;
        if (ready < 0 && errno != EINTR)
            return SL_PG_AGAIN; /* the next call of the library will say what is wrong */
        p[0].revents = p[1].revents = 0;
    }
}

/* ---- connecting ---- */

static void no_notice(void *user, const char *text)
{
    (void)user;
    (void)text;
}

static uint64_t connect_timeout_ms(const sl_pg_link *link)
{
    long seconds = 0;
    sl_pq_option *options = link->pq->conninfo(link->conn);
    for (sl_pq_option *o = options; o && o->keyword; o++)
        if (strcmp(o->keyword, "connect_timeout") == 0 && o->val)
            seconds = strtol(o->val, NULL, 10);
    link->pq->conninfoFree(options);
    return seconds > 0 && seconds <= 86400 ? (uint64_t)seconds * 1000 : CONNECT_TIMEOUT_MS;
}

/* True when the library can read it. Its text may quote the password: only what quotes a keyword is passed on. */
static bool check_conninfo(const sl_libpq *pq, const char *conninfo, sl_pg_fault *fault)
{
    char *error = NULL;
    sl_pq_option *options = pq->conninfoParse(conninfo, &error);
    bool good = options != NULL, tame = error && (strncmp(error, "invalid connection option", 25) == 0 ||
                                                  strncmp(error, "invalid URI query parameter", 27) == 0);
    if (!good)
        sl_pg_fault_set(
            fault, SL_PG_REFUSED,
            "the connection string cannot be read%s%.*s; give such as postgres://USER:PASSWORD@HOST/DATABASE",
            tame ? ": " : "", tame ? (int)strcspn(error, "\n") : 0, tame ? error : "");
    pq->freemem(error);
    pq->conninfoFree(options);
    return good;
}

static bool finish_connect(sl_pg_link *link, sl_pg_fault *fault)
{
    const sl_libpq *pq = link->pq;
    uint64_t timeout_ms = connect_timeout_ms(link), deadline = sl_deadline_ns(timeout_ms);
    sl_pg_kind ready = SL_PG_FINE;
    int state = SL_PQ_POLL_WRITING;
    while (ready == SL_PG_FINE && state != SL_PQ_POLL_OK && state != SL_PQ_POLL_FAILED) {
        ready = wait_socket(link, state == SL_PQ_POLL_READING ? POLLIN : POLLOUT, deadline);
        if (ready == SL_PG_FINE || ready == SL_PG_AGAIN)
            state = pq->connectPoll(link->conn);
    }
    if (ready == SL_PG_STOPPED)
        sl_pg_fault_set(fault, SL_PG_STOPPED, "stopped");
    else if (ready == SL_PG_TIMEOUT)
        sl_pg_fault_set(fault, SL_PG_TIMEOUT, "no connection to %s port %s within %llu s", pq->host(link->conn),
                        pq->port(link->conn), (unsigned long long)(timeout_ms / 1000));
    else if (state != SL_PQ_POLL_OK)
        sl_pg_connect_fault(pq->errorMessage(link->conn), fault);
    return fault->kind == SL_PG_FINE;
}

static void keep_place(sl_pg_link *link)
{
    const char *host = link->pq->host(link->conn), *port = link->pq->port(link->conn), *db = link->pq->db(link->conn);
    (void)snprintf(link->host, sizeof link->host, "%s", host ? host : "");
    (void)snprintf(link->database, sizeof link->database, "%s", db ? db : "");
    link->port = port ? (unsigned)strtoul(port, NULL, 10) : 0;
}

bool sl_pg_link_connect(sl_pg_link *link, const char *conninfo, sl_pg_fault *fault)
{
    SL_ASSERT(link && link->pq && !link->conn && conninfo && fault);
    static const char *const keywords[] = {"dbname", "fallback_application_name", "client_encoding", NULL};
    const char *const values[] = {conninfo, "sightline", "UTF8", NULL};
    const sl_libpq *pq = link->pq;
    *fault = (sl_pg_fault){0};
    if (!check_conninfo(pq, conninfo, fault))
        return false;
    link->conn = pq->connectStartParams(keywords, values, 1);
    if (!link->conn) {
        sl_pg_fault_set(fault, SL_PG_INTERNAL, "out of memory");
        return false;
    }
    (void)pq->setNoticeProcessor(link->conn, no_notice, NULL);
    (void)pq->setErrorVerbosity(link->conn, SL_PQ_ERRORS_VERBOSE);
    if (pq->status(link->conn) == SL_PQ_CONNECTION_BAD)
        sl_pg_connect_fault(pq->errorMessage(link->conn), fault);
    else
        (void)finish_connect(link, fault);
    keep_place(link);
    if (fault->kind) {
        sl_pg_link_close(link);
        return false;
    }
    (void)pq->setErrorVerbosity(link->conn, SL_PQ_ERRORS_DEFAULT);
    (void)pq->setnonblocking(link->conn, 1);
    return true;
}

void sl_pg_link_close(sl_pg_link *link)
{
    SL_ASSERT(link);
    if (link->conn)
        link->pq->finish(link->conn);
    link->conn = NULL;
}

/* ---- statements ---- */

/* Waits until a result can be taken. */
static sl_pg_kind wait_result(const sl_pg_link *link, uint64_t deadline_ns, bool *ret_broken)
{
    int unsent;
    while ((unsent = link->pq->flush(link->conn)) > 0 || link->pq->isBusy(link->conn)) {
        sl_pg_kind ready = wait_socket(link, unsent > 0 ? POLLIN | POLLOUT : POLLIN, deadline_ns);
        if (ready == SL_PG_STOPPED || ready == SL_PG_TIMEOUT)
            return ready;
        if (!link->pq->consumeInput(link->conn))
            unsent = -1;
        if (unsent < 0)
            break;
    }
    *ret_broken = unsent < 0;
    return SL_PG_FINE;
}

/* Tells the server to stop, and takes what is left; the connection is closed when that does not come. */
static void give_up(sl_pg_link *link)
{
    const sl_libpq *pq = link->pq;
    char ignored[256];
    uint64_t deadline = sl_deadline_ns(CANCEL_TIMEOUT_MS);
    sl_pq_cancel *cancel = pq->getCancel(link->conn);
    bool broken = !cancel || !pq->cancel(cancel, ignored, sizeof ignored);
    pq->freeCancel(cancel);
    sl_pg_link calm = *link; /* nobody wakes us up twice */
    calm.wake = -1;
    while (!broken) {
        if (wait_result(&calm, deadline, &broken) != SL_PG_FINE)
            broken = true;
        sl_pq_result *result = broken ? NULL : pq->getResult(link->conn);
        if (!result)
            break;
        pq->clear(result);
    }
    if (broken || pq->status(link->conn) == SL_PQ_CONNECTION_BAD)
        sl_pg_link_close(link);
}

/* One result; what comes behind an error is thrown away. */
static sl_pg_kind take_result(sl_pg_link *link, const sl_pq_result *result, sl_pg_row_fn on_row, void *user,
                              sl_pg_fault *fault)
{
    int status = link->pq->resultStatus(result);
    if (fault->kind || status == SL_PQ_TUPLES_OK || status == SL_PQ_COMMAND_OK)
        return SL_PG_FINE;
    if (status == SL_PQ_SINGLE_TUPLE)
        return on_row ? on_row(link->pq, result, user) : SL_PG_FINE;
    fail_result(link, result, fault);
    return SL_PG_FINE;
}

static bool send(sl_pg_link *link, const sl_sql *sql)
{
    SL_ASSERT(sql->text.len > 0 && sql->text.len < sql->text.cap && !sql->text.data[sql->text.len]);
    return link->pq->sendQueryParams(link->conn, sql->text.data, (int)sql->count, NULL,
                                     (const char *const *)sql->values, NULL, NULL, 0) &&
           link->pq->setSingleRowMode(link->conn);
}

bool sl_pg_link_run(sl_pg_link *link, const sl_sql *sql, uint64_t deadline_ns, sl_pg_row_fn on_row, void *user,
                    sl_pg_fault *fault)
{
    SL_ASSERT(link && link->conn && sql && fault);
    *fault = (sl_pg_fault){0};
    bool broken = !send(link, sql);
    while (!broken) {
        sl_pg_kind kind = wait_result(link, deadline_ns, &broken);
        sl_pq_result *result = kind || broken ? NULL : link->pq->getResult(link->conn);
        if (result) {
            kind = take_result(link, result, on_row, user, fault);
            link->pq->clear(result);
        } else if (!kind) {
            break;
        }
        if (kind) {
            sl_pg_fault_set(fault, kind,
                            kind == SL_PG_TIMEOUT   ? "no answer in time"
                            : kind == SL_PG_TOO_BIG ? "the answer is larger than 16 MiB; ask for fewer rows"
                            : kind == SL_PG_STOPPED ? "stopped"
                            : kind == SL_PG_INPUT   ? "a row holds JSON that cannot be read"
                                                    : "out of memory");
            give_up(link);
            return false;
        }
    }
    if (broken && !fault->kind)
        (void)fail_broken(link, fault);
    if (fault->broken || broken)
        sl_pg_link_close(link);
    return fault->kind == SL_PG_FINE;
}

bool sl_pg_link_say(sl_pg_link *link, const char *text, uint64_t deadline_ns, sl_pg_fault *fault)
{
    sl_sql sql;
    sl_sql_init(&sql);
    sl_sql_put(&sql, text);
    bool good = sl_sql_finish(&sql) == 0 && sl_pg_link_run(link, &sql, deadline_ns, NULL, NULL, fault);
    if (!good && sl_sql_error(&sql))
        sl_pg_fault_set(fault, SL_PG_INTERNAL, "out of memory");
    sl_sql_done(&sql);
    return good;
}
