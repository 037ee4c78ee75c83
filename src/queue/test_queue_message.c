/* LlamaDeploy's QueueMessage as a body: what is one, what is filled in, times, parents; and limits of every call of the
 * queue, which are the same whatever the engine is. */
#include "src/queue/queue_message.h"

#include <stdlib.h>

#include "src/queue/test_queue_fixture.h"
#include "tests/harness/sl_test.h"

/* JSON with ' for ". */
static json_t *quoted(const char *text)
{
    char *copy = strdup(text);
    for (char *c = copy; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    json_t *value = json_loads(copy, JSON_DECODE_ANY, NULL);
    free(copy);
    return value;
}

SL_TEST(what_is_a_queue_message)
{
    static const struct {
        const char *json;
        const char *why; /* NULL: it is one */
    } cases[] = {
        {"{}", NULL},
        {"{'id_':'a','publisher_id':'p','type':'t','action':'x','data':{},'stats':{}}", NULL},
        {"{'action':null}", NULL},
        {"{'anything':[1,2]}", NULL},
        {"[]", "a QueueMessage is a JSON object"},
        {"null", "a QueueMessage is a JSON object"},
        {"5", "a QueueMessage is a JSON object"},
        {"'text'", "a QueueMessage is a JSON object"},
        {"{'id_':5}", "are strings"},
        {"{'id_':null}", "are strings"},
        {"{'publisher_id':[]}", "are strings"},
        {"{'type':null}", "are strings"},
        {"{'action':5}", "are strings"},
        {"{'data':[]}", "are objects"},
        {"{'data':null}", "are objects"},
        {"{'stats':'x'}", "are objects"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *message = quoted(cases[i].json);
        sl_queue_message_head head = {.has_parent = true};
        const char *why = NULL;
        int error = sl_queue_message_check(message, &head, &why);
        CHECK_EQ(error, cases[i].why ? SL_EPARSE : 0);
        if (cases[i].why)
            CHECK(why && strstr(why, cases[i].why) != NULL);
        else
            CHECK(!head.has_parent);
        json_decref(message);
    }
    const char *why = NULL;
    sl_queue_message_head head;
    CHECK_EQ(sl_queue_message_check(NULL, &head, &why), SL_EPARSE);
}

SL_TEST(ids_have_a_limit)
{
    char id[SL_QUEUE_MAX_KEY_BYTES + 2];
    for (size_t len = SL_QUEUE_MAX_KEY_BYTES; len <= SL_QUEUE_MAX_KEY_BYTES + 1; len++) {
        memset(id, 'i', len);
        json_t *message = json_pack("{s:s%}", "id_", id, len);
        sl_queue_message_head head;
        const char *why = "";
        int error = sl_queue_message_check(message, &head, &why);
        CHECK_EQ(error, len > SL_QUEUE_MAX_KEY_BYTES ? SL_EPARSE : 0);
        if (error)
            CHECK_STR(sl_str_c(why), "id_ is too long");
        else
            CHECK_EQ(head.id.len, len);
        json_decref(message);
    }
}

SL_TEST(parents_that_are_none)
{
    static const struct {
        const char *stats;
        bool parent;
    } cases[] = {
        {"{'trace_id':'0af7651916cd43dd8448eb211c80319c','span_id':'b7ad6b7169203331'}", true},
        {"{'trace_id':'0AF7651916CD43DD8448EB211C80319C','span_id':'b7ad6b7169203331'}", true},
        {"{'trace_id':'0af7651916cd43dd8448eb211c80319c'}", false},
        {"{'span_id':'b7ad6b7169203331'}", false},
        {"{'trace_id':'0af7651916cd43dd8448eb211c80319','span_id':'b7ad6b7169203331'}", false},
        {"{'trace_id':'0af7651916cd43dd8448eb211c80319cc','span_id':'b7ad6b7169203331'}", false},
        {"{'trace_id':'00000000000000000000000000000000','span_id':'b7ad6b7169203331'}", false},
        {"{'trace_id':'0af7651916cd43dd8448eb211c80319c','span_id':'0000000000000000'}", false},
        {"{'trace_id':'0af7651916cd43dd8448eb211c80319x','span_id':'b7ad6b7169203331'}", false},
        {"{'trace_id':5,'span_id':null}", false},
        {"{}", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *message = json_pack("{s:o}", "stats", quoted(cases[i].stats));
        sl_queue_message_head head;
        const char *why;
        CHECK_EQ(sl_queue_message_check(message, &head, &why), 0);
        if (head.has_parent != cases[i].parent)
            sl_test_failed(__FILE__, __LINE__, "case %zu", i);
        json_decref(message);
    }
}

/* What the producer left out is filled in; what it wrote stays, but for the stats, which are the queue's. */
SL_TEST(what_is_filled_in)
{
    static const struct {
        const char *body, *id, *type, *publisher;
        const char *data; /* JSON */
    } cases[] = {
        {"{}", "the-id", "default", "default", "{}"},
        {"{'id_':'own','type':'t','publisher_id':'p','data':{'a':1},'stats':{'x':1}}", "own", "t", "p", "{'a':1}"},
        {"{'action':'go','more':true}", "the-id", "default", "default", "{}"},
        {"plain text", "the-id", "default", "default", "{'body':'plain text'}"},
        {"[1]", "the-id", "default", "default", "{'body':'[1]'}"},
        {"", "the-id", "default", "default", "{'body':''}"},
        {"\xff\xfe", "the-id", "default", "default", "{'body':null}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char body[300], *c = body;
        (void)snprintf(body, sizeof body, "%s", cases[i].body);
        for (; *c; c++)
            *c = *c == '\'' ? '"' : *c;
        sl_queue_message m = {.id = "the-id", .body = sl_str_c(body), .put_ns = 1, .taken_ns = 2};
        json_t *message = sl_queue_message_json(&m, 0), *data = quoted(cases[i].data);
        CHECK_STR(sl_str_c(json_string_value(json_object_get(message, "id_"))), cases[i].id);
        CHECK_STR(sl_str_c(json_string_value(json_object_get(message, "type"))), cases[i].type);
        CHECK_STR(sl_str_c(json_string_value(json_object_get(message, "publisher_id"))), cases[i].publisher);
        CHECK(json_equal(json_object_get(message, "data"), data));
        CHECK(json_object_get(message, "action") != NULL);
        CHECK_EQ(json_object_size(json_object_get(message, "stats")), 5);
        sl_queue_message_head head;
        const char *why;
        CHECK_EQ(sl_queue_message_check(message, &head, &why), 0); /* which is one itself */
        json_decref(message);
        json_decref(data);
    }
}

SL_TEST(times_have_microseconds)
{
    static const struct {
        uint64_t ns;
        const char *text;
    } cases[] = {{0, "1970-01-01T00:00:00.000000Z"},
                 {999, "1970-01-01T00:00:00.000000Z"},
                 {1000, "1970-01-01T00:00:00.000001Z"},
                 {999999999, "1970-01-01T00:00:00.999999Z"},
                 {1000000000, "1970-01-01T00:00:01.000000Z"},
                 {951782400123456789, "2000-02-29T00:00:00.123456Z"},
                 {4102444799999999999, "2099-12-31T23:59:59.999999Z"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[SL_QUEUE_TIME_LEN + 1];
        sl_queue_time(cases[i].ns, text);
        CHECK_STR(sl_str_c(text), cases[i].text);
    }
}

SL_TEST(stats_name_the_span_of_the_message)
{
    static const struct {
        const char *trace, *trace_id, *span_id; /* NULL: null */
    } cases[] = {{"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "0af7651916cd43dd8448eb211c80319c",
                  "b7ad6b7169203331"},
                 {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", "0af7651916cd43dd8448eb211c80319c",
                  "b7ad6b7169203331"},
                 {"", NULL, NULL},
                 {"nonsense", NULL, NULL},
                 {"00-00000000000000000000000000000000-b7ad6b7169203331-01", NULL, NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_queue_message m = {.trace = sl_str_c(cases[i].trace), .put_ns = 1000, .taken_ns = 2000};
        json_t *stats = sl_queue_message_stats(&m, i ? 3000 : 0);
        CHECK_EQ(json_is_null(json_object_get(stats, "process_end_time")), i == 0);
        const json_t *trace = json_object_get(stats, "trace_id"), *span = json_object_get(stats, "span_id");
        CHECK_EQ(json_is_null(trace), !cases[i].trace_id);
        if (cases[i].trace_id) {
            CHECK_STR(sl_str_c(json_string_value(trace)), cases[i].trace_id);
            CHECK_STR(sl_str_c(json_string_value(span)), cases[i].span_id);
        }
        json_decref(stats);
    }
}

/* ---- limits of the calls ---- */

static sl_queue *open_queue(void)
{
    char folder[64] = "/tmp/sl-test-qlimits-XXXXXX", path[128], error[512];
    sl_queue *q = NULL;
    if (!sl_test_mkdtemp(folder))
        abort();
    (void)snprintf(path, sizeof path, "%s/queue.db", folder);
    if (sl_queue_open(&(sl_queue_options){.path = path}, error, sizeof error, &q))
        sl_test_failed(__FILE__, __LINE__, "%s", error);
    return q;
}

SL_TEST(puts_at_their_limits)
{
    static char text[SL_QUEUE_MAX_BODY_BYTES + 1];
    memset(text, 'x', sizeof text);
    const sl_str topic = SL_STR("t");
    const struct {
        sl_queue_put put;
        int error;
    } cases[] = {
        {{.topic = topic}, 0},
        {{.topic = sl_str_of(text, SL_QUEUE_MAX_TOPIC_BYTES)}, 0},
        {{.topic = sl_str_of(text, SL_QUEUE_MAX_TOPIC_BYTES + 1)}, SL_EINVAL},
        {{.topic = SL_STR("")}, SL_EINVAL},
        {{.topic = SL_STR("a\xff")}, SL_EINVAL},
        {{.topic = sl_str_of("a\0b", 3)}, SL_EINVAL},
        {{.topic = topic, .priority = 9}, 0},
        {{.topic = topic, .priority = 10}, SL_EINVAL},
        {{.topic = topic, .delay_ms = SL_QUEUE_MAX_DELAY_MS}, 0},
        {{.topic = topic, .delay_ms = SL_QUEUE_MAX_DELAY_MS + 1}, SL_EINVAL},
        {{.topic = topic, .delay_ms = UINT64_MAX}, SL_EINVAL},
        {{.topic = topic, .max_deliveries = SL_QUEUE_MAX_DELIVERIES}, 0},
        {{.topic = topic, .max_deliveries = SL_QUEUE_MAX_DELIVERIES + 1}, SL_EINVAL},
        {{.topic = topic, .idempotency_key = sl_str_of(text, SL_QUEUE_MAX_KEY_BYTES)}, 0},
        {{.topic = topic, .idempotency_key = sl_str_of(text, SL_QUEUE_MAX_KEY_BYTES + 1)}, SL_EINVAL},
        {{.topic = topic, .trace = sl_str_of(text, SL_QUEUE_MAX_TRACE_BYTES)}, 0},
        {{.topic = topic, .trace = sl_str_of(text, SL_QUEUE_MAX_TRACE_BYTES + 1)}, SL_EINVAL},
        {{.topic = topic, .body = sl_str_of(text, SL_QUEUE_MAX_BODY_BYTES)}, 0},
        {{.topic = topic, .body = sl_str_of(text, SL_QUEUE_MAX_BODY_BYTES + 1)}, SL_ETOOBIG},
    };
    sl_queue *q = open_queue();
    REQUIRE(q != NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_queue_accepted accepted;
        int error = sl_queue_put_wait(q, &cases[i].put, &accepted);
        if (error != cases[i].error)
            sl_test_failed(__FILE__, __LINE__, "case %zu: %d", i, error);
    }
    sl_queue_close(q);
}

SL_TEST(leases_at_their_limits)
{
    sl_queue *q = open_queue();
    REQUIRE(q != NULL);
    static const struct {
        uint64_t ms;
        int error;
    } cases[] = {{0, SL_EINVAL},
                 {SL_QUEUE_MAX_DELAY_MS + 1, SL_EINVAL},
                 {UINT64_MAX, SL_EINVAL},
                 {1, 0},
                 {SL_QUEUE_MAX_DELAY_MS, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_queue_message *m = NULL;
        CHECK_EQ(put(q, "t", "x", PLAIN, NULL), 0);
        CHECK_EQ(sl_queue_take(q, SL_STR("t"), cases[i].ms, &m), cases[i].error);
        CHECK_EQ(m != NULL, cases[i].error == 0);
        sl_queue_message_free(m);
    }
    sl_queue_message *m = NULL;
    CHECK_EQ(put(q, "u", "x", PLAIN, NULL), 0);
    REQUIRE(sl_queue_take(q, SL_STR("u"), 60000, &m) == 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (cases[i].ms != 1) /* it would be over at once */
            CHECK_EQ(sl_queue_extend(q, m->id, m->lease, cases[i].ms), cases[i].error);
    }
    CHECK_EQ(sl_queue_nack(q, m->id, m->lease, SL_QUEUE_MAX_DELAY_MS + 1, false, SL_STR("")), SL_EINVAL);
    CHECK_EQ(sl_queue_nack(q, m->id, m->lease + 1, 0, false, SL_STR("")), SL_ENOENT);
    CHECK_EQ(sl_queue_nack(q, "no id at all", m->lease, 0, false, SL_STR("")), SL_ENOENT);
    CHECK_EQ(sl_queue_ack(q, "", m->lease, NULL, NULL), SL_ENOENT);
    CHECK_EQ(sl_queue_extend(q, m->id, 0, 1000), SL_ENOENT);
    CHECK_EQ(sl_queue_nack(q, m->id, m->lease, SL_QUEUE_MAX_DELAY_MS, false, SL_STR("")), 0);
    sl_queue_topic_stats stats[4];
    size_t count = sl_queue_get_stats(q, stats, 4);
    CHECK_EQ(count, 2);
    CHECK_EQ(stats[1].delayed, 1);
    sl_queue_message_free(m);
    sl_queue_message_free(NULL);
    sl_queue_close(q);
    sl_queue_close(NULL);
}

static void note_dead(void *user, const sl_queue_dead *dead)
{
    char *text = user;
    (void)snprintf(text, 2048, "%.*s", (int)dead->reason.len, dead->reason.ptr ? dead->reason.ptr : "");
}

/* Reasons of dead letters: cut to their room, between two characters, and told as they were given. */
SL_TEST(reasons_of_dead_letters)
{
    static char longest[3000], text[2048];
    for (size_t i = 0; i + 3 <= sizeof longest; i += 3)
        memcpy(longest + i, "\xe2\x82\xac", 3);
    const struct {
        sl_str reason;
        size_t len; /* that is told */
    } cases[] = {{SL_STR("why"), 3},
                 {SL_STR(""), strlen("given back by its last consumer")},
                 {sl_str_of(longest, 1023), 1023},
                 {sl_str_of(longest, 1026), 1023},
                 {sl_str_of(longest, 3000), 1023}};
    sl_queue *q = open_queue();
    REQUIRE(q != NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char topic[8];
        sl_queue_message *m = NULL;
        (void)snprintf(topic, sizeof topic, "t%zu", i);
        CHECK_EQ(put(q, topic, "x", PLAIN, NULL), 0);
        REQUIRE(sl_queue_take(q, sl_str_c(topic), 60000, &m) == 0);
        CHECK_EQ(sl_queue_nack(q, m->id, m->lease, 0, true, cases[i].reason), 0);
        sl_queue_message_free(m);
        text[0] = 0;
        CHECK_EQ(put(q, "behind", "x", PLAIN, NULL), 0); /* in the order of the file */
        CHECK_EQ(sl_queue_dead_list(q, sl_str_c(topic), SL_STR(""), 10, note_dead, text), 1);
        CHECK_EQ(strlen(text), cases[i].len);
        CHECK(sl_utf8_valid(sl_str_c(text)));
    }
    sl_queue_close(q);
}
