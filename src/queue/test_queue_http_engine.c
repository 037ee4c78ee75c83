/*
 * The queue over HTTP in front of an engine that does what the test says: each error of each call as an answer, ends
 * that another has had, more deliveries than may be at once, pages of large dead letters, what has no memory.
 */
#include <sys/time.h>

#include "src/base/mem.h"
#include "src/queue/queue_engine.h"
#include "src/queue/queue_http.h"
#include "src/queue/queue_http_impl.h"
#include "src/queue/queue_id.h"
#include "tests/harness/net_fixture.h"

#define HEAD UINT64_C(0x0190163d86947000)

/* What each call says, and what it was asked. Written before a request, read behind its answer. */
typedef struct fake {
    sl_queue_base base;
    int put, put_done, take, watch, ack, ack_done, nack, extend, list, change, change_done;
    uint64_t change_count;
    size_t ready;      /* messages that take gives */
    size_t body_bytes; /* of each */
    int body_byte;
    size_t dead, dead_bytes;
    unsigned ends_elsewhere; /* acknowledgements that come too late, before one that does not */
    bool no_topic;
    uint64_t leases, acks, nacks;
    char reason[SL_QUEUE_MAX_REASON_BYTES + 8];
    uint64_t delay_ms, lease_ms;
    bool was_dead;
    char last_error[64];
    void (*_Atomic watcher)(void *user); /* set by the loop's thread, called by the test's */
    void *watcher_user;
} fake;

static fake *of(sl_queue *q)
{
    return (fake *)(void *)q;
}

static int fk_make(sl_queue *q, sl_str topic)
{
    (void)topic;
    return of(q)->put;
}

static bool fk_is(sl_queue *q, sl_str topic)
{
    (void)topic;
    return !of(q)->no_topic;
}

static int fk_put(sl_queue *q, const sl_queue_put *put, sl_queue_done_fn done, void *user)
{
    sl_queue_accepted accepted = {.duplicate = false};
    (void)put;
    if (of(q)->put)
        return of(q)->put;
    sl_queue_id_format(HEAD, 1, accepted.id);
    done(user, of(q)->put_done, &accepted);
    return 0;
}

static int fk_take(sl_queue *q, sl_str topic, uint64_t lease_ms, sl_queue_message **ret_message)
{
    static const char name[] = "t";
    fake *f = of(q);
    (void)topic;
    if (f->take)
        return f->take;
    if (f->ready == 0)
        return SL_EAGAIN;
    sl_q_taken *t = sl_calloc(1, sizeof *t);
    if (!t || !(t->bytes = sl_malloc(f->body_bytes + 1))) {
        sl_free(t);
        return SL_ENOMEM;
    }
    f->ready--;
    f->leases++;
    f->lease_ms = lease_ms;
    memset(t->bytes, f->body_byte ? f->body_byte : 'x', f->body_bytes + 1);
    sl_queue_id_format(HEAD, f->leases, t->pub.id);
    t->pub.topic = sl_str_of(name, 1);
    t->pub.body = sl_str_of(t->bytes, f->body_bytes);
    t->pub.lease = f->leases;
    t->pub.delivery = 1;
    *ret_message = &t->pub;
    return 0;
}

static int fk_watch(sl_queue *q, sl_str topic, void (*fn)(void *user), void *user)
{
    (void)topic;
    of(q)->watcher_user = user;
    of(q)->watcher = fn;
    return of(q)->watch ? of(q)->watch : 1;
}

static void fk_unwatch(sl_queue *q, int id)
{
    (void)id;
    of(q)->watcher = NULL;
}

static int fk_ack(sl_queue *q, const char *id, uint64_t lease, sl_queue_end_fn done, void *user)
{
    fake *f = of(q);
    (void)id;
    (void)lease;
    if (f->ack)
        return f->ack;
    f->acks++;
    int error = f->ack_done;
    if (f->ends_elsewhere) {
        f->ends_elsewhere--;
        error = SL_ENOENT;
    }
    if (done)
        done(user, error);
    return 0;
}

static int fk_nack(sl_queue *q, const char *id, uint64_t lease, uint64_t delay_ms, bool dead, sl_str reason)
{
    fake *f = of(q);
    (void)id;
    (void)lease;
    f->delay_ms = delay_ms;
    f->was_dead = dead;
    f->nacks++;
    (void)sl_str_to_c(reason, f->reason, sizeof f->reason);
    return f->nack;
}

static int fk_extend(sl_queue *q, const char *id, uint64_t lease, uint64_t lease_ms)
{
    (void)id;
    (void)lease;
    of(q)->lease_ms = lease_ms;
    return of(q)->extend;
}

static int fk_list(sl_queue *q, sl_str topic, sl_str after, size_t max,
                   void (*fn)(void *user, const sl_queue_dead *dead), void *user)
{
    fake *f = of(q);
    uint64_t head, row = 0;
    int count = 0;
    if (f->list)
        return f->list;
    if (after.len && sl_queue_id_parse(after, &head, &row))
        return SL_EINVAL;
    char *body = malloc(f->dead_bytes + 1);
    memset(body, 'd', f->dead_bytes + 1);
    for (row++; row <= f->dead && (size_t)count < max; row++, count++) {
        sl_queue_dead dead = {.topic = topic, .body = sl_str_of(body, f->dead_bytes), .reason = SL_STR("why")};
        sl_queue_id_format(HEAD, row, dead.id);
        fn(user, &dead);
    }
    free(body);
    return count;
}

static int fk_change(sl_queue *q, sl_str topic, sl_str id, sl_queue_count_fn done, void *user)
{
    (void)topic;
    (void)id;
    if (of(q)->change)
        return of(q)->change;
    done(user, of(q)->change_done, of(q)->change_count);
    return 0;
}

static size_t fk_stats(sl_queue *q, sl_queue_topic_stats *stats, size_t max)
{
    (void)q;
    for (size_t i = 0; i < max && i < 2; i++) {
        stats[i] = (sl_queue_topic_stats){.ready = i, .acked = UINT64_MAX >> 1, .oldest_ready_ns = 1500000000u};
        (void)snprintf(stats[i].topic, sizeof stats[i].topic, "t\"%zu", i);
    }
    return 2;
}

static void fk_disk(sl_queue *q, sl_queue_disk_stats *ret_stats)
{
    (void)q;
    *ret_stats = (sl_queue_disk_stats){.commits = 3, .failed_commits = 1, .bytes = 4096};
}

static void fk_last_error(sl_queue *q, char *text, size_t size)
{
    (void)snprintf(text, size, "%s", of(q)->last_error);
}

static void fk_close(sl_queue *q)
{
    (void)q;
}

static const sl_queue_engine engine = {.topic_make = fk_make,
                                       .topic_is = fk_is,
                                       .put_start = fk_put,
                                       .take = fk_take,
                                       .watch = fk_watch,
                                       .unwatch = fk_unwatch,
                                       .ack = fk_ack,
                                       .nack = fk_nack,
                                       .extend = fk_extend,
                                       .dead_list = fk_list,
                                       .dead_requeue = fk_change,
                                       .dead_purge = fk_change,
                                       .get_stats = fk_stats,
                                       .get_disk_stats = fk_disk,
                                       .last_error = fk_last_error,
                                       .close = fk_close};

typedef struct site {
    nf_loop l;
    fake queue;
    sl_queue_http *http;
    uint16_t port;
    int fd;
} site;

static void stop_site(void *user)
{
    sl_queue_http_close(((site *)user)->http, NULL, NULL);
}

static site *site_new(size_t max_leased)
{
    site *s = calloc(1, sizeof *s);
    if (!s || sl_loop_init(&s->l.loop))
        abort();
    s->queue.base.engine = &engine;
    s->fd = nf_listen(&s->port);
    sl_queue_http_options o = {
        .loop = &s->l.loop, .queue = (sl_queue *)(void *)&s->queue, .max_leased = max_leased, .lease_ms = 600000};
    if (sl_queue_http_new(&o, &s->http) || sl_queue_http_listen(s->http, s->fd))
        abort();
    nf_loop_start(&s->l, stop_site, s);
    return s;
}

static void site_end(site *s)
{
    nf_loop_stop(&s->l);
    close(s->fd);
    sl_loop_done(&s->l.loop);
    free(s);
}

static json_t *ask(site *s, const char *method, const char *target, const char *body, int status)
{
    char *text;
    if (asprintf(&text, "%s %s HTTP/1.1\r\nHost: q\r\nContent-Length: %zu\r\n\r\n%s", method, target, strlen(body),
                 body) < 0)
        abort();
    nf_message m = nf_ask(s->port, text);
    if (m.status != status)
        sl_test_failed(__FILE__, __LINE__, "%s %.100s: %d, not %d: %.*s", method, target, m.status, status,
                       (int)(m.body.len < 300 ? m.body.len : 300), m.body.ptr);
    json_t *json = m.body.len ? json_loadb(m.body.ptr, m.body.len, JSON_DECODE_ANY, NULL) : NULL;
    nf_message_free(&m);
    free(text);
    return json;
}

static void expect(site *s, const char *method, const char *target, const char *body, int status)
{
    json_decref(ask(s, method, target, body, status));
}

static const char *detail_of(const json_t *json)
{
    const char *text = json_string_value(json_object_get(json, "detail"));
    return text ? text : "(none)";
}

/* Leases one and gives the path of a verb for it, with its token. */
static void lease_one(site *s, const char *verb, char *path, size_t size)
{
    s->queue.ready = 1;
    json_t *answer = ask(s, "POST", "/queues/t/lease", "", 200);
    const json_t *m = json_array_get(json_object_get(answer, "messages"), 0);
    const char *id = json_string_value(json_object_get(m, "id")),
               *lease = json_string_value(json_object_get(m, "lease"));
    (void)snprintf(path, size, "/queues/messages/%s/%s?lease=%s", id ? id : "none", verb, lease ? lease : "0");
    CHECK(id && lease);
    json_decref(answer);
}

/* ---- errors as answers ---- */

static const struct {
    int error, status;
    const char *says;
} answers[] = {
    {SL_EINVAL, 422, "outside its limits"}, {SL_ETOOBIG, 413, "too large"},       {SL_EAGAIN, 429, "full"},
    {SL_ENOENT, 404, "not found"},          {SL_ECLOSED, 503, "closing"},         {SL_ELIMIT, 507, "the disk is full"},
    {SL_EIO, 500, "the disk is full"},      {SL_ENOMEM, 500, "the disk is full"},
};

SL_TEST(every_error_of_every_call_is_an_answer)
{
    site *s = site_new(0);
    strcpy(s->queue.last_error, "the disk is full");
    static const struct {
        const char *method, *target;
        size_t place; /* of the error in the fake */
        int special;  /* the status of SL_ENOENT, where it has one of its own; of SL_EAGAIN when `again` */
        bool again;
    } calls[] = {
        {"POST", "/queues/t/messages", offsetof(fake, put), 0, false},
        {"POST", "/queues/t/messages", offsetof(fake, put_done), 0, false},
        {"POST", "/topics/t", offsetof(fake, put), 0, false},
        {"POST", "/queues/t/lease", offsetof(fake, take), 200, true},
        {"GET", "/messages/t", offsetof(fake, take), 200, true},
        {"GET", "/queues/t/dead", offsetof(fake, list), 0, false},
        {"POST", "/queues/t/dead/requeue", offsetof(fake, change), 0, false},
        {"POST", "/queues/t/dead/purge", offsetof(fake, change_done), 0, false},
    };
    for (size_t c = 0; c < sizeof calls / sizeof *calls; c++) {
        for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
            int *place = (int *)(void *)((char *)&s->queue + calls[c].place);
            *place = answers[i].error;
            bool own = calls[c].again && answers[i].error == SL_EAGAIN;
            if (calls[c].place == offsetof(fake, take) && answers[i].error == SL_ELIMIT)
                continue; /* no engine says so of a take */
            json_t *answer = ask(s, calls[c].method, calls[c].target, "", own ? 200 : answers[i].status);
            if (!own && !strstr(detail_of(answer), answers[i].says))
                sl_test_failed(__FILE__, __LINE__, "%s, error %d: %s", calls[c].target, answers[i].error,
                               detail_of(answer));
            json_decref(answer);
            *place = 0;
        }
    }
    site_end(s);
}

/* Errors of the verbs of a delivery: one that is over elsewhere is a conflict; after the others it can be tried again.
 */
SL_TEST(every_error_of_an_end_is_an_answer)
{
    static const struct {
        const char *verb;
        size_t place;
    } verbs[] = {{"ack", offsetof(fake, ack)},
                 {"ack", offsetof(fake, ack_done)},
                 {"nack", offsetof(fake, nack)},
                 {"extend", offsetof(fake, extend)}};
    site *s = site_new(0);
    strcpy(s->queue.last_error, "the disk is full");
    for (size_t v = 0; v < 4; v++) {
        for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
            char path[256];
            int *place = (int *)(void *)((char *)&s->queue + verbs[v].place);
            lease_one(s, verbs[v].verb, path, sizeof path);
            *place = answers[i].error;
            bool over = answers[i].error == SL_ENOENT;
            json_t *answer = ask(s, "POST", path, "", over ? 409 : answers[i].status);
            CHECK(strstr(detail_of(answer), over ? "the lease was over" : answers[i].says) != NULL);
            json_decref(answer);
            *place = 0;
            expect(s, "POST", path, "", over ? 409 : 200);
        }
    }
    site_end(s);
}

/* LlamaDeploy's way of taking: what another has ended is passed over, to the next that is ready. */
SL_TEST(taking_passes_over_what_another_has_ended)
{
    site *s = site_new(0);
    s->queue.ready = 3;
    s->queue.ends_elsewhere = 2;
    json_t *got = ask(s, "GET", "/messages/t", "", 200);
    char third[SL_QUEUE_ID_BYTES];
    sl_queue_id_format(HEAD, 3, third);
    CHECK_STR(sl_str_c(json_string_value(json_object_get(got, "id_"))), third);
    CHECK_EQ(s->queue.acks, 3);
    json_decref(got);
    s->queue.ready = 2;
    s->queue.ends_elsewhere = 2;
    got = ask(s, "GET", "/messages/t", "", 200);
    CHECK(json_is_null(got)); /* none is left */
    json_decref(got);
    static const struct {
        size_t place;
        int error, status;
    } cases[] = {{offsetof(fake, ack), SL_EIO, 500},
                 {offsetof(fake, ack_done), SL_ELIMIT, 507},
                 {offsetof(fake, ack_done), SL_EAGAIN, 429}};
    for (size_t i = 0; i < 3; i++) {
        int *place = (int *)(void *)((char *)&s->queue + cases[i].place);
        s->queue.ready = 1;
        *place = cases[i].error;
        expect(s, "GET", "/messages/t", "", cases[i].status); /* its lease goes on: it comes again */
        *place = 0;
    }
    s->queue.no_topic = true;
    expect(s, "GET", "/messages/t", "", 404);
    expect(s, "POST", "/messages/t", "{}", 404);
    site_end(s);
}

/* ---- more deliveries than may be at once ---- */

static int send_lease(site *s, const char *query)
{
    char text[256];
    int fd = nf_connect(s->port);
    int len =
        snprintf(text, sizeof text, "POST /queues/t/lease?%s HTTP/1.1\r\nHost: q\r\nContent-Length: 0\r\n\r\n", query);
    CHECK(nf_send(fd, text, (size_t)len));
    return fd;
}

SL_TEST(who_waits_gets_work_when_there_is_room_for_it)
{
    site *s = site_new(2);
    char first[256], second[256];
    lease_one(s, "ack", first, sizeof first);
    lease_one(s, "nack", second, sizeof second);
    s->queue.ready = 5;
    json_t *none = ask(s, "POST", "/queues/t/lease?max=3", "", 200); /* no room, and no wait */
    CHECK_EQ(json_array_size(json_object_get(none, "messages")), 0);
    json_decref(none);
    int waiting = send_lease(s, "wait=30&max=3");
    for (int i = 0; i < NF_PATIENCE_MS && !s->queue.watcher; i++)
        nf_sleep_ms(1);
    nf_sleep_ms(30);
    void (*watcher)(void *user) = s->queue.watcher;
    REQUIRE(watcher != NULL);
    watcher(s->queue.watcher_user); /* the queue tells once that something is ready, and not again */
    nf_sleep_ms(30);
    CHECK_EQ(s->queue.leases, 2);
    uint64_t start = sl_mono_ns();
    expect(s, "POST", first, "", 200);
    nf_message m;
    REQUIRE(nf_read_message(waiting, false, false, &m));
    CHECK(sl_mono_ns() - start < 5000000000u);
    CHECK_EQ(m.status, 200);
    json_t *got = json_loadb(m.body.ptr, m.body.len, 0, NULL);
    CHECK_EQ(json_array_size(json_object_get(got, "messages")), 1); /* as many as there is room for */
    json_decref(got);
    nf_message_free(&m);
    close(waiting);
    expect(s, "POST", second, "", 200);
    site_end(s);
}

/* Several that wait: each end lets one in, in the order in which they came. */
SL_TEST(who_waits_longest_comes_first)
{
    site *s = site_new(1);
    char path[256];
    int waiting[3];
    lease_one(s, "ack", path, sizeof path);
    s->queue.ready = 3;
    for (int i = 0; i < 3; i++) {
        waiting[i] = send_lease(s, "wait=30");
        nf_sleep_ms(20);
    }
    for (int i = 0; i < 3; i++) {
        nf_message m;
        expect(s, "POST", path, "", 200);
        REQUIRE(nf_read_message(waiting[i], false, false, &m));
        json_t *got = json_loadb(m.body.ptr, m.body.len, 0, NULL);
        const json_t *one = json_array_get(json_object_get(got, "messages"), 0);
        const char *lease = json_string_value(json_object_get(one, "lease"));
        REQUIRE(lease != NULL);
        CHECK_EQ(strtol(lease, NULL, 10), i + 2);
        (void)snprintf(path, sizeof path, "/queues/messages/%s/ack?lease=%s",
                       json_string_value(json_object_get(one, "id")), lease);
        json_decref(got);
        nf_message_free(&m);
        close(waiting[i]);
    }
    site_end(s);
}

/* ---- sizes ---- */

/* A page of dead letters ends behind 8 MiB; behind its last id comes the next, until all have been seen. */
SL_TEST(large_dead_letters_come_in_several_pages)
{
    site *s = site_new(0);
    s->queue.dead = 20;
    s->queue.dead_bytes = SL_QUEUE_MAX_BODY_BYTES;
    char target[256] = "/queues/t/dead?max=100";
    size_t seen = 0;
    for (int page = 0; page < 20; page++) {
        json_t *answer = ask(s, "GET", target, "", 200);
        const json_t *list = json_object_get(answer, "messages");
        size_t count = json_array_size(list);
        if (count) {
            const json_t *last = json_array_get(list, count - 1);
            (void)snprintf(target, sizeof target, "/queues/t/dead?max=100&after=%s",
                           json_string_value(json_object_get(last, "id")));
            CHECK(count <= 3);
        }
        seen += count;
        json_decref(answer);
        if (!count)
            break;
    }
    CHECK_EQ(seen, 20);
    site_end(s);
}

SL_TEST(small_dead_letters_come_as_many_as_asked_for)
{
    static const struct {
        const char *target;
        size_t count;
    } cases[] = {{"/queues/t/dead", 20},          {"/queues/t/dead?max=1", 1},   {"/queues/t/dead?max=0", 0},
                 {"/queues/t/dead?max=100", 100}, {"/queues/t/dead?max=25", 25}, {"/queues/t/dead?max=99&x=1", 99}};
    site *s = site_new(0);
    s->queue.dead = 150;
    s->queue.dead_bytes = 10;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *answer = ask(s, "GET", cases[i].target, "", 200);
        CHECK_EQ(json_array_size(json_object_get(answer, "messages")), cases[i].count);
        json_decref(answer);
    }
    expect(s, "GET", "/queues/t/dead?max=101", "", 422);
    site_end(s);
}

/* Messages whose every byte is written as six: an answer of any number of them is whole, and none goes back unread. */
SL_TEST(messages_that_grow_when_they_are_written)
{
    site *s = site_new(0);
    s->queue.ready = 100;
    s->queue.body_bytes = SL_QUEUE_MAX_BODY_BYTES;
    s->queue.body_byte = 1;
    json_t *answer = ask(s, "POST", "/queues/t/lease?max=100", "", 200);
    const json_t *list = json_object_get(answer, "messages");
    CHECK(json_array_size(list) >= 1 && json_array_size(list) < 100);
    CHECK_EQ(json_string_length(json_object_get(json_array_get(list, 0), "body")), SL_QUEUE_MAX_BODY_BYTES);
    CHECK_EQ(s->queue.nacks, 0);
    json_decref(answer);
    site_end(s);
}

/* ---- why it is given back ---- */

/* A reason of any length and shape reaches the queue, cut to its room between two characters. */
SL_TEST(reasons_are_cut_and_not_lost)
{
    char path[256], target[9000], body[9000], long_text[4000] = "", *at = long_text;
    for (int i = 0; i < 700; i++) {
        memcpy(at, "\xe2\x82\xac", 4);
        at += 3;
    }
    static const struct {
        const char *query, *json; /* of which one is NULL */
        const char *reason;
    } cases[] = {{"no%20time+left", NULL, "no time left"},
                 {NULL, "\"a \\\"b\\\"\"", "a \"b\""},
                 {NULL, "17", "17"},
                 {NULL, "true", "true"},
                 {NULL, "null", ""},
                 {NULL, "[]", ""},
                 {"", NULL, ""}};
    site *s = site_new(0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lease_one(s, "nack", path, sizeof path);
        (void)snprintf(target, sizeof target, "%s%s%s", path, cases[i].query ? "&reason=" : "",
                       cases[i].query ? cases[i].query : "");
        (void)snprintf(body, sizeof body, cases[i].json ? "{\"reason\":%s}" : "%s", cases[i].json ? cases[i].json : "");
        expect(s, "POST", target, body, 200);
        CHECK_STR(sl_str_c(s->queue.reason), cases[i].reason);
    }
    lease_one(s, "nack", path, sizeof path);
    (void)snprintf(body, sizeof body, "{\"reason\":\"%s\"}", long_text);
    expect(s, "POST", path, body, 200);
    CHECK_EQ(strlen(s->queue.reason), SL_QUEUE_MAX_REASON_BYTES / 3 * 3);
    CHECK(sl_utf8_valid(sl_str_c(s->queue.reason)));
    lease_one(s, "nack", path, sizeof path);
    memset(long_text, 'y', 3000);
    long_text[3000] = 0;
    (void)snprintf(target, sizeof target, "%s&reason=%s&dead=true&delay=2.5", path, long_text);
    expect(s, "POST", target, "", 200);
    CHECK_EQ(strlen(s->queue.reason), SL_QUEUE_MAX_REASON_BYTES);
    CHECK(s->queue.was_dead && s->queue.delay_ms == 2500);
    site_end(s);
}

SL_TEST(times_and_flags_of_the_verbs)
{
    static const struct {
        const char *verb, *query;
        int status;
        uint64_t delay_ms, lease_ms;
        bool dead;
    } cases[] = {
        {"nack", "", 200, 0, 0, false},
        {"nack", "&delay=0", 200, 0, 0, false},
        {"nack", "&delay=0.0004", 200, 0, 0, false},
        {"nack", "&delay=0.0006", 200, 1, 0, false},
        {"nack", "&delay=31622400", 200, 31622400000u, 0, false}, /* 366 days */
        {"nack", "&delay=31622401", 422, 0, 0, false},
        {"nack", "&delay=1e3", 200, 1000000, 0, false},
        {"nack", "&delay=inf", 422, 0, 0, false},
        {"nack", "&delay=nan", 422, 0, 0, false},
        {"nack", "&delay=0x10", 422, 0, 0, false},
        {"nack", "&delay=", 422, 0, 0, false},
        {"nack", "&dead=1", 200, 0, 0, true},
        {"nack", "&dead=true", 200, 0, 0, true},
        {"nack", "&dead=false", 200, 0, 0, false},
        {"nack", "&dead=yes", 200, 0, 0, false},
        {"extend", "&seconds=5", 200, 0, 5000, false},
        {"extend", "&seconds=0.001", 200, 0, 1, false},
        {"extend", "&seconds=0.0001", 422, 0, 0, false},
        {"extend", "&seconds=0", 422, 0, 0, false},
        {"extend", "&seconds=-1", 422, 0, 0, false},
        {"extend", "&seconds=x", 422, 0, 0, false},
        {"extend", "", 200, 0, 600000, false}, /* the server's own */
    };
    site *s = site_new(0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[256], target[400];
        lease_one(s, cases[i].verb, path, sizeof path);
        s->queue.delay_ms = s->queue.lease_ms = 0;
        s->queue.was_dead = false;
        (void)snprintf(target, sizeof target, "%s%s", path, cases[i].query);
        expect(s, "POST", target, "", cases[i].status);
        if (s->queue.delay_ms != cases[i].delay_ms || s->queue.lease_ms != cases[i].lease_ms ||
            s->queue.was_dead != cases[i].dead)
            sl_test_failed(__FILE__, __LINE__, "case %zu (%s): %llu %llu %d", i, cases[i].query,
                           (unsigned long long)s->queue.delay_ms, (unsigned long long)s->queue.lease_ms,
                           s->queue.was_dead);
    }
    site_end(s);
}

/* ---- figures ---- */

SL_TEST(figures_are_told_as_they_are)
{
    site *s = site_new(0);
    for (int round = 0; round < 2; round++) {
        (void)snprintf(s->queue.last_error, sizeof s->queue.last_error, "%s", round ? "disk \"sda\" failed" : "");
        json_t *answer = ask(s, "GET", "/queues", "", 200);
        const json_t *list = json_object_get(answer, "queues"), *disk = json_object_get(answer, "disk");
        CHECK_EQ(json_array_size(list), 2);
        const json_t *one = json_array_get(list, 1);
        CHECK_STR(sl_str_c(json_string_value(json_object_get(one, "topic"))), "t\"1");
        CHECK_EQ(json_integer_value(json_object_get(one, "acked")), INT64_MAX);
        CHECK(json_number_value(json_object_get(one, "oldest_ready_seconds")) == 1.5);
        CHECK_EQ(json_integer_value(json_object_get(disk, "failed_commits")), 1);
        const json_t *last = json_object_get(disk, "last_error");
        CHECK(round ? strcmp(json_string_value(last), "disk \"sda\" failed") == 0 : json_is_null(last));
        json_decref(answer);
    }
    site_end(s);
}

/* Held open, and the topic cannot be watched: said so, and nobody waits for nothing. */
SL_TEST(a_topic_that_cannot_be_watched)
{
    site *s = site_new(0);
    static const int errors[] = {SL_ELIMIT, SL_EAGAIN, SL_ENOMEM};
    for (size_t i = 0; i < 3; i++) {
        s->queue.watch = errors[i];
        json_t *answer = ask(s, "POST", "/queues/t/lease?wait=5", "", 503);
        CHECK(strstr(detail_of(answer), "too many") != NULL);
        json_decref(answer);
    }
    site_end(s);
}

/* ---- what is shut while something is under way ---- */

SL_TEST(waiting_requests_end_when_the_server_closes)
{
    site *s = site_new(0);
    int waiting[4];
    for (int i = 0; i < 4; i++)
        waiting[i] = send_lease(s, "wait=600");
    nf_sleep_ms(30);
    uint64_t start = sl_mono_ns();
    site_end(s);
    CHECK(sl_mono_ns() - start < 3000000000u);
    for (int i = 0; i < 4; i++)
        close(waiting[i]);
}
