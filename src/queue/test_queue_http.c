/* The queue over HTTP: LlamaDeploy's surface, workers, traces, what is refused. */
#include "src/queue/queue_http.h"

#include <sys/stat.h>

#include "src/base/mem.h"
#include "src/queue/queue_message.h"
#include "src/telemetry/collect.h"
#include "src/telemetry/sdk_impl.h"
#include "src/wire/otlp_read.h"
#include "tests/harness/net_fixture.h"

#define PRODUCER "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

typedef struct site {
    nf_loop l;
    sl_queue *queue;
    sl_queue_http *http;
    sl_queue_telemetry *telemetry;
    sl_sdk *sdk;
    sl_segment *segment;
    uint16_t port;
    int fd;
    bool drain;
    sl_queue_message *kept; /* by keep_again() */
    _Atomic unsigned agains;
    char folder[64], path[128];
} site;

static sl_queue_again (*the_again)(void *user, sl_queue_message *message, char **ret_body); /* of the next site */

static void start_sdk(site *s)
{
    sl_segment_options small = {.size_bytes = SL_SEGMENT_MIN_BYTES, .threads = 8, .cells = 16384};
    sl_sdk_options options = {.ignore_environment = true};
    sl_sdk_internal_options internal;
    memset(&internal, 0, sizeof internal);
    if (sl_segment_new(&small, &s->segment))
        abort();
    internal.segment = s->segment;
    internal.record_only = true;
    if (sl_sdk_new_internal(&options, &internal, &s->sdk) || sl_queue_telemetry_new(s->sdk, s->queue, &s->telemetry))
        abort();
}

static void on_drained(void *user)
{
    sl_queue_http_close(((site *)user)->http, NULL, NULL);
}

static void stop_site(void *user)
{
    site *s = user;
    if (s->drain)
        sl_queue_http_drain(s->http, on_drained, s);
    else
        sl_queue_http_close(s->http, NULL, NULL);
}

static site *site_new(const char *key, bool traced, sl_queue_options options)
{
    site *s = calloc(1, sizeof *s);
    char error[512];
    if (!s)
        abort();
    (void)snprintf(s->folder, sizeof s->folder, "/tmp/sl-test-qhttp-XXXXXX");
    if (!mkdtemp(s->folder))
        abort();
    (void)snprintf(s->path, sizeof s->path, "%s/queue.db", s->folder);
    options.path = s->path;
    if (sl_loop_init(&s->l.loop) || sl_queue_open(&options, error, sizeof error, &s->queue))
        abort();
    if (traced)
        start_sdk(s);
    s->fd = nf_listen(&s->port);
    sl_queue_http_options http = {.loop = &s->l.loop,
                                  .queue = s->queue,
                                  .telemetry = s->telemetry,
                                  .api_key = key,
                                  .again = the_again,
                                  .user = s};
    if (sl_queue_http_new(&http, &s->http) || sl_queue_http_listen(s->http, s->fd))
        abort();
    nf_loop_start(&s->l, stop_site, s);
    return s;
}

/* Stops the server and the queue; spans stay to be read. */
static void site_stop(site *s)
{
    nf_loop_stop(&s->l);
    close(s->fd);
    sl_loop_done(&s->l.loop);
    sl_queue_telemetry_free(s->telemetry);
    sl_queue_close(s->queue);
}

static void site_free(site *s)
{
    char command[128];
    if (s->sdk) {
        (void)sl_sdk_shutdown(s->sdk, 1000);
        sl_sdk_free(s->sdk);
        sl_segment_free(s->segment);
    }
    (void)snprintf(command, sizeof command, "rm -rf %s", s->folder);
    CHECK_EQ(system(command), 0);
    free(s);
}

static void site_end(site *s)
{
    site_stop(s);
    site_free(s);
}

/* Sends a request with this body; the answer's JSON (the caller frees it; NULL: none). */
static json_t *ask(site *s, const char *method, const char *target, const char *fields, const char *body, int status)
{
    char text[8192];
    (void)snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: q\r\nContent-Length: %zu\r\n%s\r\n%s", method, target,
                   strlen(body), fields, body);
    nf_message m = nf_ask(s->port, text);
    if (m.status != status)
        sl_test_failed(__FILE__, __LINE__, "%s %s: %d, not %d: %.*s", method, target, m.status, status, (int)m.body.len,
                       m.body.ptr);
    json_t *json = m.body.len ? json_loadb(m.body.ptr, m.body.len, JSON_DECODE_ANY, NULL) : NULL;
    nf_message_free(&m);
    return json;
}

static void expect(site *s, const char *method, const char *target, const char *body, int status)
{
    json_decref(ask(s, method, target, "", body, status));
}

static const char *text_at(const json_t *json, const char *name)
{
    const char *text = json_string_value(json_object_get(json, name));
    return text ? text : "(none)";
}

/* The first message of a lease's answer; borrowed. */
static json_t *first_of(const json_t *answer)
{
    return json_array_get(json_object_get(answer, "messages"), 0);
}

static int64_t figure(site *s, const char *topic, const char *name)
{
    json_t *answer = ask(s, "GET", "/queues", "", "", 200);
    int64_t value = -1;
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(answer, "queues"), i, one)
    {
        if (strcmp(text_at(one, "topic"), topic) == 0)
            value = json_integer_value(json_object_get(one, name));
    }
    json_decref(answer);
    return value;
}

static sl_queue_again change_or_keep(void *user, sl_queue_message *message, char **ret_body)
{
    site *s = user;
    CHECK(message->delivery > 1);
    CHECK_STR(message->body, "ada");
    if (++s->agains == 1)
        return SL_QUEUE_AGAIN_GIVE;
    if (s->agains == 2) {
        *ret_body = strdup("ada, once more");
        return SL_QUEUE_AGAIN_GIVE;
    }
    s->kept = message;
    return SL_QUEUE_AGAIN_KEPT;
}

/* Of messages that were delivered before the user says what becomes of them. */
SL_TEST(messages_that_come_again)
{
    the_again = change_or_keep;
    site *s = site_new(NULL, false, (sl_queue_options){.path = NULL});
    the_again = NULL;
    static const char *const bodies[] = {"ada", "ada", "ada, once more"};
    char target[256];
    expect(s, "POST", "/queues/mail/messages", "ada", 201);
    for (unsigned i = 0; i < 3; i++) {
        json_t *answer = ask(s, "POST", "/queues/mail/lease", "", "", 200);
        json_t *message = first_of(answer);
        CHECK_STR(sl_str_c(text_at(message, "body")), bodies[i]);
        CHECK_EQ(json_integer_value(json_object_get(message, "delivery")), i + 1);
        CHECK_EQ(s->agains, i);
        (void)snprintf(target, sizeof target, "/queues/messages/%s/nack?lease=%s", text_at(message, "id"),
                       text_at(message, "lease"));
        json_decref(answer);
        expect(s, "POST", target, "", 200);
    }
    expect(s, "POST", "/queues/mail/messages", "bob", 201); /* one is kept, and the next one given */
    json_t *answer = ask(s, "POST", "/queues/mail/lease", "", "", 200);
    CHECK_STR(sl_str_c(text_at(first_of(answer), "body")), "bob");
    json_decref(answer);
    REQUIRE(s->kept);
    CHECK_EQ(figure(s, "mail", "leased"), 2);
    CHECK_EQ(sl_queue_ack(s->queue, s->kept->id, s->kept->lease, NULL, NULL), 0);
    sl_queue_message_free(s->kept);
    CHECK_EQ(figure(s, "mail", "leased"), 1);
    site_end(s);
}

SL_TEST(the_simple_queue_of_llama_deploy)
{
    site *s = site_new(NULL, false, (sl_queue_options){.path = NULL});
    json_t *json = ask(s, "GET", "/", "", "", 200);
    CHECK(strcmp(text_at(json, "service_name"), "message_queue") == 0);
    json_decref(json);
    json = ask(s, "POST", "/messages/llama_deploy.wf", "", "{}", 404);
    CHECK(strcmp(text_at(json, "detail"), "topic llama_deploy.wf not found") == 0);
    json_decref(json);
    expect(s, "GET", "/messages/llama_deploy.wf", "", 404);
    for (int i = 0; i < 2; i++) {
        json = ask(s, "POST", "/topics/llama_deploy.wf", "", "", 200);
        CHECK(json_is_null(json));
    }
    json = ask(s, "GET", "/messages/llama_deploy.wf", "", "", 200);
    CHECK(json_is_null(json));
    const char *message = "{\"id_\":\"5f0c\",\"publisher_id\":\"me\",\"data\":{\"n\":1},\"action\":\"new_task\","
                          "\"stats\":{\"publish_time\":null},\"type\":\"wf\"}";
    json = ask(s, "POST", "/messages/llama_deploy.wf", "Content-Type: application/json\r\n", message, 200);
    CHECK(json_is_null(json));
    expect(s, "POST", "/messages/llama_deploy.wf", message, 200); /* the same message again: accepted once */
    expect(s, "POST", "/messages/llama_deploy.wf", "[1]", 422);
    expect(s, "POST", "/messages/llama_deploy.wf", "{\"data\":7}", 422);
    expect(s, "POST", "/messages/llama_deploy.wf", "{\"type\":null}", 422);
    json = ask(s, "GET", "/messages/llama_deploy.wf", "", "", 200);
    CHECK(strcmp(text_at(json, "id_"), "5f0c") == 0 && strcmp(text_at(json, "publisher_id"), "me") == 0);
    CHECK(strcmp(text_at(json, "action"), "new_task") == 0 && strcmp(text_at(json, "type"), "wf") == 0);
    CHECK_EQ(json_integer_value(json_object_get(json_object_get(json, "data"), "n")), 1);
    const json_t *stats = json_object_get(json, "stats");
    CHECK_EQ(strlen(text_at(stats, "publish_time")), SL_QUEUE_TIME_LEN);
    CHECK(strcmp(text_at(stats, "process_start_time"), text_at(stats, "publish_time")) >= 0);
    json_decref(json);
    json = ask(s, "GET", "/messages/llama_deploy.wf", "", "", 200);
    CHECK(json_is_null(json));
    site_end(s);
}

SL_TEST(a_worker_takes_and_acknowledges)
{
    site *s = site_new(NULL, false, (sl_queue_options){.path = NULL});
    json_t *put = ask(s, "POST", "/queues/jobs/messages?priority=4",
                      "Idempotency-Key: k1\r\ntraceparent: " PRODUCER "\r\n", "hello", 201);
    json_t *again = ask(s, "POST", "/queues/jobs/messages", "Idempotency-Key: k1\r\n", "hello", 200);
    CHECK(json_is_true(json_object_get(again, "duplicate")) && !json_is_true(json_object_get(put, "duplicate")));
    CHECK(strcmp(text_at(put, "id"), text_at(again, "id")) == 0);
    json_t *lease = ask(s, "POST", "/queues/jobs/lease?lease=30", "", "", 200);
    const json_t *m = first_of(lease);
    CHECK(strcmp(text_at(m, "id"), text_at(put, "id")) == 0 && strcmp(text_at(m, "body"), "hello") == 0);
    CHECK(strcmp(text_at(m, "encoding"), "utf-8") == 0 && strcmp(text_at(m, "topic"), "jobs") == 0);
    CHECK(strcmp(text_at(m, "idempotency_key"), "k1") == 0 && strcmp(text_at(m, "traceparent"), PRODUCER) == 0);
    CHECK_EQ(json_integer_value(json_object_get(m, "priority")), 4);
    CHECK_EQ(json_integer_value(json_object_get(m, "delivery")), 1);
    char target[256];
    (void)snprintf(target, sizeof target, "/queues/messages/%s/ack?lease=%s1", text_at(m, "id"), text_at(m, "lease"));
    expect(s, "POST", target, "", 409); /* not its token */
    (void)snprintf(target, sizeof target, "/queues/messages/%s/ack", text_at(m, "id"));
    expect(s, "POST", target, "", 422);
    char body[128];
    (void)snprintf(body, sizeof body, "{\"lease\":\"%s\"}", text_at(m, "lease"));
    json_t *ack = ask(s, "POST", target, "", body, 200);
    const json_t *stats = json_object_get(ack, "stats");
    CHECK_EQ(strlen(text_at(stats, "process_end_time")), SL_QUEUE_TIME_LEN);
    CHECK(strcmp(text_at(stats, "process_end_time"), text_at(stats, "process_start_time")) >= 0);
    CHECK(strcmp(text_at(stats, "trace_id"), "0af7651916cd43dd8448eb211c80319c") == 0);
    CHECK(strcmp(text_at(stats, "span_id"), "b7ad6b7169203331") == 0);
    expect(s, "POST", target, body, 409);
    CHECK(figure(s, "jobs", "acked") == 1 && figure(s, "jobs", "ready") == 0 && figure(s, "jobs", "duplicates") == 1);
    json_decref(put);
    json_decref(again);
    json_decref(lease);
    json_decref(ack);
    site_end(s);
}

SL_TEST(bytes_that_are_no_text_and_names_that_are_coded)
{
    site *s = site_new(NULL, false, (sl_queue_options){.path = NULL});
    char request[] = "POST /queues/a%2Fb%20c/messages HTTP/1.1\r\nHost: q\r\nContent-Length: 3\r\n\r\n\xff\x01z";
    nf_message m = nf_ask(s->port, request);
    CHECK_EQ(m.status, 201);
    nf_message_free(&m);
    json_decref(ask(s, "POST", "/queues/a%FFb/messages", "", "x", 422)); /* names are told in JSON */
    json_decref(ask(s, "POST", "/messages/%C3", "", "{}", 422));
    json_decref(ask(s, "POST", "/topics/%ED%A0%80", "", "", 422));
    json_t *lease = ask(s, "POST", "/queues/a%2Fb%20c/lease", "", "{\"max\":5}", 200);
    CHECK(strcmp(text_at(first_of(lease), "encoding"), "base64") == 0);
    CHECK(strcmp(text_at(first_of(lease), "body"), "/wF6") == 0);
    CHECK(strcmp(text_at(first_of(lease), "topic"), "a/b c") == 0);
    json_decref(lease);
    site_end(s);
}

/* ---- push ---- */

static int send_lease(site *s, const char *query)
{
    char text[256];
    int fd = nf_connect(s->port);
    (void)snprintf(text, sizeof text, "POST /queues/t/lease?%s HTTP/1.1\r\nHost: q\r\nContent-Length: 0\r\n\r\n",
                   query);
    (void)nf_send_c(fd, text);
    return fd;
}

static json_t *read_answer(int fd, int status)
{
    nf_message m = {.status = -1};
    (void)nf_read_message(fd, false, false, &m);
    CHECK_EQ(m.status, status);
    json_t *json = json_loadb(m.body.ptr ? m.body.ptr : "", m.body.len, 0, NULL);
    nf_message_free(&m);
    close(fd);
    return json;
}

SL_TEST(a_request_for_work_is_held_open)
{
    site *s = site_new(NULL, false, (sl_queue_options){.path = NULL});
    int first = send_lease(s, "wait=10"), second = send_lease(s, "wait=10"), third = send_lease(s, "wait=0.3");
    json_t *none = read_answer(third, 200);
    CHECK(none && !first_of(none));
    json_decref(none);
    uint64_t start = sl_mono_ns();
    expect(s, "POST", "/queues/t/messages", "one", 201);
    json_t *one = read_answer(first, 200);
    CHECK(strcmp(text_at(first_of(one), "body"), "one") == 0); /* who came first is served first */
    CHECK(sl_mono_ns() - start < 2000000000u);
    expect(s, "POST", "/queues/t/messages?delay=0.2", "two", 201);
    json_t *two = read_answer(second, 200);
    CHECK(strcmp(text_at(first_of(two), "body"), "two") == 0);
    json_decref(one);
    json_decref(two);
    site_end(s);
}

SL_TEST(many_at_once_up_to_max)
{
    site *s = site_new(NULL, false, (sl_queue_options){.path = NULL});
    for (int i = 0; i < 7; i++)
        expect(s, "POST", "/queues/t/messages", "x", 201);
    json_t *five = ask(s, "POST", "/queues/t/lease?max=5&wait=5", "", "", 200);
    json_t *two = ask(s, "POST", "/queues/t/lease?max=5&wait=5", "", "", 200);
    CHECK_EQ(json_array_size(json_object_get(five, "messages")), 5);
    CHECK_EQ(json_array_size(json_object_get(two, "messages")), 2);
    json_decref(five);
    json_decref(two);
    site_end(s);
}

SL_TEST(a_worker_that_left_takes_nothing_with_it)
{
    site *s = site_new(NULL, false, (sl_queue_options){.path = NULL});
    int gone = send_lease(s, "wait=30");
    nf_sleep_ms(50);
    close(gone);
    nf_sleep_ms(50);
    expect(s, "POST", "/queues/t/messages", "x", 201);
    json_t *lease = ask(s, "POST", "/queues/t/lease?wait=5", "", "", 200);
    CHECK(strcmp(text_at(first_of(lease), "body"), "x") == 0);
    json_decref(lease);
    site_end(s);
}

/* ---- a crowd ---- */

enum { WORKERS = 6, TASKS = 240 };

typedef struct crowd {
    site *s;
    _Atomic int put, acked;
    _Atomic int seen[TASKS];
} crowd;

static void *crowd_put(void *user)
{
    crowd *c = user;
    for (int number; (number = c->put++) < TASKS;) {
        char body[16], fields[64];
        (void)snprintf(body, sizeof body, "%d", number);
        (void)snprintf(fields, sizeof fields, "Idempotency-Key: k%d\r\n", number);
        json_decref(ask(c->s, "POST", "/queues/t/messages", fields, body, 201));
        json_decref(ask(c->s, "POST", "/queues/t/messages", fields, body, 200)); /* a producer that asks twice */
    }
    return NULL;
}

/* Leases up to three; a worker that is to vanish closes without looking at the answer. */
static json_t *crowd_lease(crowd *c, bool vanish)
{
    int fd = send_lease(c->s, "wait=0.2&lease=1&max=3");
    if (!vanish)
        return read_answer(fd, 200);
    close(fd);
    return NULL;
}

static void *crowd_work(void *user)
{
    crowd *c = user;
    uint64_t until = sl_mono_ns() + 30000000000u;
    for (int turn = 0; c->acked < TASKS && sl_mono_ns() < until; turn++) {
        json_t *lease = crowd_lease(c, turn % 5 == 4), *m;
        size_t i;
        json_array_foreach(json_object_get(lease, "messages"), i, m)
        {
            char path[256];
            int number = atoi(text_at(m, "body"));
            bool nack = number % 9 == 0 && json_integer_value(json_object_get(m, "delivery")) == 1;
            (void)snprintf(path, sizeof path, "/queues/messages/%s/%s?lease=%s", text_at(m, "id"),
                           nack ? "nack" : "ack", text_at(m, "lease"));
            char request[512];
            (void)snprintf(request, sizeof request, "POST %s HTTP/1.1\r\nHost: q\r\nContent-Length: 0\r\n\r\n", path);
            nf_message answer = nf_ask(c->s->port, request);
            CHECK(answer.status == 200 || answer.status == 409); /* 409: this thread was too slow for its lease */
            if (answer.status == 200 && !nack) {
                c->seen[number]++;
                c->acked++;
            }
            nf_message_free(&answer);
        }
        json_decref(lease);
    }
    return NULL;
}

SL_TEST(each_task_ends_once_whoever_vanishes)
{
    static crowd c;
    memset(&c, 0, sizeof c);
    (void)signal(SIGPIPE, SIG_IGN); /* as the commands do */
    c.s = site_new(NULL, false, (sl_queue_options){.max_deliveries = 100});
    pthread_t threads[WORKERS];
    for (int i = 0; i < WORKERS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, i < 2 ? crowd_put : crowd_work, &c) == 0);
    for (int i = 0; i < WORKERS; i++)
        (void)pthread_join(threads[i], NULL);
    for (int i = 0; i < TASKS; i++)
        CHECK_EQ(c.seen[i], 1);
    CHECK(figure(c.s, "t", "acked") == TASKS && figure(c.s, "t", "ready") == 0 && figure(c.s, "t", "leased") == 0);
    CHECK(figure(c.s, "t", "duplicates") == TASKS && figure(c.s, "t", "dead") == 0);
    site_end(c.s);
}

SL_TEST(draining_lets_those_go_who_wait)
{
    site *s = site_new(NULL, false, (sl_queue_options){.path = NULL});
    int waiting = send_lease(s, "wait=60");
    nf_sleep_ms(50);
    s->drain = true;
    uint64_t start = sl_mono_ns();
    site_stop(s);
    json_t *none = read_answer(waiting, 200);
    CHECK(none && !first_of(none));
    CHECK(sl_mono_ns() - start < 5000000000u);
    json_decref(none);
    site_free(s);
}

/* ---- giving back, dead letters ---- */

/* Leases one message of topic t and gives its path of a verb, with the token. */
static bool lease_path(site *s, const char *verb, char *path, size_t size)
{
    json_t *lease = ask(s, "POST", "/queues/t/lease?wait=5&lease=30", "", "", 200);
    const json_t *m = first_of(lease);
    (void)snprintf(path, size, "/queues/messages/%s/%s?lease=%s", text_at(m, "id"), verb, text_at(m, "lease"));
    bool found = m != NULL;
    json_decref(lease);
    return found;
}

SL_TEST(given_back_and_dead_letters)
{
    site *s = site_new(NULL, false, (sl_queue_options){.path = NULL});
    char path[256], target[512];
    expect(s, "POST", "/queues/t/messages?max_deliveries=3", "x", 201);
    REQUIRE(lease_path(s, "nack", path, sizeof path));
    expect(s, "POST", path, "", 200);
    expect(s, "POST", path, "", 409);
    REQUIRE(lease_path(s, "nack", path, sizeof path));
    (void)snprintf(target, sizeof target, "%s&delay=x", path);
    expect(s, "POST", target, "", 422);
    (void)snprintf(target, sizeof target, "%s&delay=0.1", path);
    expect(s, "POST", target, "", 200);
    REQUIRE(lease_path(s, "nack", path, sizeof path));
    (void)snprintf(target, sizeof target, "%s&dead=true&reason=cannot%%20be+read", path);
    expect(s, "POST", target, "", 200);
    json_t *dead = ask(s, "GET", "/queues/t/dead", "", "", 200);
    for (int i = 0; i < 50 && !first_of(dead); i++) {
        nf_sleep_ms(10);
        json_decref(dead);
        dead = ask(s, "GET", "/queues/t/dead", "", "", 200);
    }
    CHECK(strcmp(text_at(first_of(dead), "reason"), "cannot be read") == 0);
    CHECK(strcmp(text_at(first_of(dead), "body"), "x") == 0);
    CHECK_EQ(json_integer_value(json_object_get(first_of(dead), "deliveries")), 3);
    CHECK_EQ(figure(s, "t", "dead"), 1);
    expect(s, "POST", "/queues/t/dead/requeue?id=0190163d-8694-739b-aea5-966c26f8ad91", "", 404);
    expect(s, "POST", "/queues/none/dead/requeue", "", 404);
    expect(s, "GET", "/queues/none/dead", "", 404);
    json_t *count = ask(s, "POST", "/queues/t/dead/requeue", "", "", 200);
    CHECK_EQ(json_integer_value(json_object_get(count, "count")), 1);
    json_decref(count);
    REQUIRE(lease_path(s, "extend", path, sizeof path));
    (void)snprintf(target, sizeof target, "%s&seconds=0.05", path);
    expect(s, "POST", target, "", 200);
    nf_sleep_ms(300);
    expect(s, "POST", path, "", 409); /* over */
    REQUIRE(lease_path(s, "nack", path, sizeof path));
    (void)snprintf(target, sizeof target, "%s&dead=1", path);
    expect(s, "POST", target, "", 200);
    count = ask(s, "POST", "/queues/t/dead/purge", "", "{}", 200);
    CHECK_EQ(json_integer_value(json_object_get(count, "count")), 1);
    json_decref(count);
    json_decref(dead);
    site_end(s);
}

/* ---- what is refused ---- */

SL_TEST(requests_that_are_refused)
{
    static const struct {
        const char *method, *target, *body;
        int status;
    } rows[] = {
        {"GET", "/nowhere", "", 404},
        {"GET", "/queues/t", "", 404},
        {"GET", "/queues/a/b/c/d/e", "", 404},
        {"DELETE", "/queues", "", 405},
        {"GET", "/queues/t/lease", "", 405},
        {"POST", "/queues/t/lease?max=0", "", 422},
        {"POST", "/queues/t/lease?max=101", "", 422},
        {"POST", "/queues/t/lease?max=-1", "", 422},
        {"POST", "/queues/t/lease?wait=forever", "", 422},
        {"POST", "/queues/t/lease?wait=3601", "", 422},
        {"POST", "/queues/t/lease?lease=0", "", 422},
        {"POST", "/queues/t/lease", "{broken", 422},
        {"POST", "/queues/t/lease", "[]", 422},
        {"POST", "/queues/t/messages?priority=10", "x", 422},
        {"POST", "/queues/t/messages?delay=-1", "x", 422},
        {"POST", "/queues/t/messages?max_deliveries=1001", "x", 422},
        {"POST", "/queues/%FF/messages", "x", 422},
        {"POST", "/queues/messages/nonsense/ack?lease=1", "", 409},
        {"POST", "/queues/messages/nonsense/ack?lease=x", "", 422},
        {"GET", "/queues/t/dead?max=1000", "", 422},
        {"GET", "/queues/t/dead?after=x", "", 422},
    };
    site *s = site_new(NULL, false, (sl_queue_options){.path = NULL});
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect(s, rows[i].method, rows[i].target, rows[i].body, rows[i].status);
    site_end(s);
}

SL_TEST(back_pressure_is_told)
{
    site *s = site_new(NULL, false, (sl_queue_options){.max_waiting = 2});
    expect(s, "POST", "/queues/t/messages", "x", 201);
    expect(s, "POST", "/queues/t/messages", "x", 201);
    expect(s, "POST", "/queues/t/messages", "x", 429);
    CHECK_EQ(figure(s, "t", "rejected"), 1);
    site_end(s);
}

SL_TEST(keys_are_asked_for)
{
    site *s = site_new("s3cret", false, (sl_queue_options){.path = NULL});
    json_decref(ask(s, "GET", "/queues", "", "", 401));
    json_decref(ask(s, "GET", "/queues", "Authorization: Bearer wrong\r\n", "", 401));
    json_decref(ask(s, "POST", "/queues/t/messages", "X-API-Key: s3cre\r\n", "body", 401));
    json_decref(ask(s, "GET", "/queues", "Authorization: Bearer s3cret\r\n", "", 200));
    json_decref(ask(s, "POST", "/queues/t/messages", "X-API-Key: s3cret\r\n", "body", 201));
    site_end(s);
}

/* ---- traces ---- */

typedef struct spans {
    size_t count;
    char *copies[16];
    sl_otlp_span all[16];
} spans;

static bool keep_span(void *user, uint32_t tag, const uint8_t *data, size_t len)
{
    spans *found = user;
    (void)tag;
    if (found->count == 16)
        return false;
    char *copy = malloc(len + 1);
    if (!copy)
        return false;
    memcpy(copy, data, len);
    found->copies[found->count] = copy;
    CHECK_EQ(sl_otlp_read_span(sl_str_of(copy, len), &found->all[found->count]), 0);
    found->count++;
    return true;
}

static const sl_otlp_span *span_named(const spans *found, const char *name)
{
    for (size_t i = 0; i < found->count; i++) {
        if (sl_str_eq_c(found->all[i].name, name))
            return &found->all[i];
    }
    return NULL;
}

static void check_hex(sl_str bytes, const char *text)
{
    char hex[64];
    REQUIRE(bytes.len <= 32);
    sl_hex_encode((const uint8_t *)bytes.ptr, bytes.len, hex);
    CHECK_STR(sl_str_of(hex, 2 * bytes.len), text);
}

SL_TEST(of_two_parents_of_a_request_neither_goes_with_the_message)
{
    site *s = site_new(NULL, false, (sl_queue_options){.path = NULL});
    json_decref(ask(s, "POST", "/queues/t/messages",
                    "traceparent: " PRODUCER
                    "\r\nTraceParent: 00-11111111111111111111111111111111-2222222222222222-01\r\n",
                    "x", 201));
    json_t *lease = ask(s, "POST", "/queues/t/lease?wait=5", "", "", 200);
    const json_t *m = first_of(lease);
    REQUIRE(m);
    const json_t *trace = json_object_get(m, "traceparent");
    CHECK(!trace || json_string_length(trace) == 0);
    json_decref(lease);
    site_end(s);
}

SL_TEST(the_trace_goes_from_producer_to_worker)
{
    site *s = site_new(NULL, true, (sl_queue_options){.path = NULL});
    json_decref(ask(s, "POST", "/queues/t/messages", "traceparent: " PRODUCER "\r\n", "x", 201));
    json_t *lease = ask(s, "POST", "/queues/t/lease?wait=5", "", "", 200);
    const json_t *m = first_of(lease);
    REQUIRE(m);
    char ack[256];
    (void)snprintf(ack, sizeof ack, "/queues/messages/%s/ack?lease=%s", text_at(m, "id"), text_at(m, "lease"));
    expect(s, "POST", ack, "", 200);
    site_stop(s);
    spans found = {.count = 0};
    (void)sl_segment_drain(s->segment, SL_RING_SPANS, keep_span, &found);
    CHECK_EQ(found.count, 2);
    const sl_otlp_span *publish = span_named(&found, "message_queue.publish");
    const sl_otlp_span *callback = span_named(&found, "message_queue.callback");
    REQUIRE(publish && callback);
    check_hex(publish->trace_id, "0af7651916cd43dd8448eb211c80319c");
    check_hex(publish->parent_span_id, "b7ad6b7169203331");
    CHECK_STR_EQ(callback->trace_id, publish->trace_id);
    CHECK_STR_EQ(callback->parent_span_id, publish->span_id);
    CHECK(publish->kind == SL_SPAN_PRODUCER && callback->kind == SL_SPAN_CONSUMER);
    CHECK(callback->end_ns >= callback->start_ns);
    char own[17] = "";
    sl_hex_encode((const uint8_t *)callback->span_id.ptr, 8, own);
    CHECK(strncmp(text_at(m, "traceparent") + 36, own, 16) == 0); /* the worker's parent */
    sl_otlp_any any;
    CHECK_EQ(sl_otlp_find_attr(callback->self, SL_OTLP_SPAN_ATTRS, SL_STR("message.topic"), &any), 0);
    for (size_t i = 0; i < found.count; i++)
        free(found.copies[i]);
    json_decref(lease);
    site_free(s);
}

/* ---- QueueMessage ---- */

SL_TEST(a_queue_message_is_made_of_anything)
{
    sl_queue_message m = {.id = "0190163d-8694-739b-aea5-966c26f8ad91",
                          .body = SL_STR("plain words"),
                          .put_ns = 1763108123123456789,
                          .taken_ns = 1763108124000001000};
    json_t *json = sl_queue_message_json(&m, 0);
    CHECK(strcmp(text_at(json, "id_"), m.id) == 0 && strcmp(text_at(json, "type"), "default") == 0);
    CHECK(strcmp(text_at(json_object_get(json, "data"), "body"), "plain words") == 0);
    const json_t *stats = json_object_get(json, "stats");
    CHECK(strcmp(text_at(stats, "publish_time"), "2025-11-14T08:15:23.123456Z") == 0);
    CHECK(strcmp(text_at(stats, "process_start_time"), "2025-11-14T08:15:24.000001Z") == 0);
    CHECK(json_is_null(json_object_get(stats, "process_end_time")) && json_is_null(json_object_get(stats, "trace_id")));
    json_decref(json);
    m.body = SL_STR("\xff");
    json = sl_queue_message_json(&m, m.taken_ns);
    CHECK(json_is_null(json_object_get(json_object_get(json, "data"), "body")));
    json_decref(json);
}

SL_TEST(a_queue_message_names_its_parent)
{
    json_t *json = json_pack("{s:{s:s,s:s}}", "stats", "trace_id", "0af7651916cd43dd8448eb211c80319c", "span_id",
                             "b7ad6b7169203331");
    sl_queue_message_head head;
    const char *why;
    CHECK_EQ(sl_queue_message_check(json, &head, &why), 0);
    CHECK(head.has_parent && head.parent.trace_id[0] == 0x0a && head.parent.span_id[7] == 0x31);
    (void)json_object_set_new(json_object_get(json, "stats"), "span_id", json_string("none"));
    CHECK_EQ(sl_queue_message_check(json, &head, &why), 0);
    CHECK(!head.has_parent);
    json_decref(json);
}
