/*
 * The live view against a model: spans of many traces by chance, in any order and any batches, of several services.
 * What the JSON says of every trace and of the list must be what a look at all the spans says.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/view/test_live_fixture.h"
#include "tests/harness/sl_chance.h"

#define TRACES 40
#define SPANS 12

typedef struct kept {
    spec spec;
    const char *service;
    char name[16];
} kept;

static kept spans[TRACES * SPANS];
static size_t span_count;
static uint64_t state;
static const char *const services[] = {"gateway", "flow", "a \"quoted\" \xC3\xA4"};

static unsigned chance(unsigned below)
{
    return sl_chance(&state, below);
}

/* A trace: a root and spans below earlier ones; now and then the root or a parent is missing. */
static void make_trace(uint32_t trace)
{
    unsigned count = 1 + chance(SPANS);
    bool headless = chance(5) == 0;
    for (uint32_t i = 0; i < count; i++) {
        kept *k = &spans[span_count++];
        uint64_t start = (uint64_t)trace * 1000000 + (i ? 1 + chance(5000) : 0);
        *k = (kept){
            .spec = {
                .trace = trace, .span = 100 + i, .kind = chance(6), .status = chance(8) == 0 ? 2 : chance(3) == 0}};
        k->spec.parent = i ? 100 + chance(i) : headless ? 99 : 0;
        k->spec.start = start;
        k->spec.end = start + (chance(10) ? chance(100000) : 0);
        k->service = services[chance(3)];
        (void)snprintf(k->name, sizeof k->name, "s%u.%u", trace, i);
        k->spec.name = k->name;
    }
}

/* All spans in an order by chance, in batches of one service each. */
static void send_all(sl_live *live)
{
    size_t order[TRACES * SPANS];
    for (size_t i = 0; i < span_count; i++)
        order[i] = i;
    for (size_t i = span_count; i-- > 1;) {
        size_t k = chance((unsigned)i + 1), held = order[i];
        order[i] = order[k];
        order[k] = held;
    }
    sl_buf batch;
    sl_buf_init(&batch, 64u << 20);
    for (size_t i = 0; i < span_count; i++) {
        const kept *k = &spans[order[i]];
        put_resource(&batch, k->service, &k->spec, 1, sl_str_of(NULL, 0));
        if (chance(4) == 0 || i + 1 == span_count) {
            CHECK_EQ(sl_live_add(live, sl_buf_str(&batch)), 0);
            sl_buf_clear(&batch);
        }
    }
    sl_buf_done(&batch);
}

static json_t *read_json(sl_buf *out)
{
    json_error_t error;
    json_t *value = json_loadb(out->data, out->len, JSON_REJECT_DUPLICATES, &error);
    if (!value)
        sl_test_failed(__FILE__, __LINE__, "%s in %.*s", error.text, (int)out->len, out->data);
    sl_buf_done(out);
    return value;
}

static json_t *trace_json(sl_live *live, const char *id, int expected)
{
    sl_buf out;
    sl_buf_init(&out, 16u << 20);
    CHECK_EQ(sl_live_trace_json(live, sl_str_c(id), &out), expected);
    if (!expected)
        return read_json(&out);
    sl_buf_done(&out);
    return NULL;
}

static json_t *list_json(sl_live *live, size_t limit, const char *service)
{
    sl_buf out;
    sl_buf_init(&out, 16u << 20);
    sl_live_filter filter = {.limit = limit, .service = sl_str_c(service)};
    CHECK_EQ(sl_live_list_json(live, &filter, &out), 0);
    return read_json(&out);
}

static const char *text_of(json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

static json_int_t number_of(json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

/* ---- one trace ---- */

static const kept *span_of(uint32_t trace, const char *name)
{
    for (size_t i = 0; i < span_count; i++)
        if (spans[i].spec.trace == trace && strcmp(spans[i].name, name) == 0)
            return &spans[i];
    return NULL;
}

static void check_span(json_t *seen, const kept *k)
{
    static const char *const kinds[] = {"INTERNAL", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"};
    static const char *const statuses[] = {"UNSET", "OK", "ERROR"};
    char id[17], parent[17];
    (void)snprintf(id, sizeof id, "%08x00000000", k->spec.span);
    (void)snprintf(parent, sizeof parent, "%08x00000000", k->spec.parent);
    bool right = strcmp(text_of(seen, "span_id"), id) == 0 &&
                 strcmp(text_of(seen, "parent_span_id"), k->spec.parent ? parent : "") == 0 &&
                 json_is_null(json_object_get(seen, "parent_span_id")) == !k->spec.parent &&
                 strcmp(text_of(seen, "kind"), kinds[k->spec.kind]) == 0 &&
                 strcmp(text_of(seen, "service"), k->service) == 0 &&
                 strcmp(text_of(seen, "status"), statuses[k->spec.status]) == 0 &&
                 number_of(seen, "start_ns") == (json_int_t)(T0 + k->spec.start) &&
                 number_of(seen, "duration_ns") == (json_int_t)(k->spec.end - k->spec.start) &&
                 json_is_object(json_object_get(seen, "attributes"));
    if (!right)
        sl_test_failed(__FILE__, __LINE__, "span %s", k->name);
}

static void check_trace(sl_live *live, uint32_t trace)
{
    char id[33];
    (void)snprintf(id, sizeof id, "%08x%024x", trace, 0);
    json_t *seen = trace_json(live, id, 0), *list = json_object_get(seen, "spans"), *last = NULL;
    size_t wanted = 0;
    for (size_t i = 0; i < span_count; i++)
        wanted += spans[i].spec.trace == trace;
    CHECK(strcmp(text_of(seen, "trace_id"), id) == 0);
    CHECK_EQ(json_array_size(list), wanted);
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *span = json_array_get(list, i);
        const kept *k = span_of(trace, text_of(span, "name"));
        REQUIRE(k);
        check_span(span, k);
        CHECK(!last || number_of(last, "start_ns") <= number_of(span, "start_ns"));
        last = span;
    }
    json_decref(seen);
}

/* ---- the list ---- */

typedef struct line {
    const kept *root;
    uint64_t start, end;
    size_t count;
    bool error, of_service;
} line;

static line line_of(uint32_t trace, const char *service)
{
    line l = {.start = UINT64_MAX};
    for (size_t i = 0; i < span_count; i++) {
        const kept *k = &spans[i];
        if (k->spec.trace != trace)
            continue;
        bool better = !l.root || (!k->spec.parent && l.root->spec.parent) ||
                      (!k->spec.parent == !l.root->spec.parent && k->spec.start < l.root->spec.start);
        if (better)
            l.root = k;
        l.start = k->spec.start < l.start ? k->spec.start : l.start;
        l.end = k->spec.end > l.end ? k->spec.end : l.end;
        l.count++;
        l.error = l.error || k->spec.status == 2;
        l.of_service = l.of_service || !*service || strcmp(k->service, service) == 0;
    }
    return l;
}

static void check_list(sl_live *live, size_t limit, const char *service)
{
    json_t *list = list_json(live, limit, service);
    size_t fitting = 0;
    bool seen[TRACES + 1] = {false};
    for (uint32_t t = 1; t <= TRACES; t++)
        fitting += line_of(t, service).of_service;
    size_t most = limit ? limit : 20;
    CHECK_EQ(json_array_size(list), fitting < most ? fitting : most);
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *row = json_array_get(list, i);
        uint32_t trace = (uint32_t)strtoul(text_of(row, "trace_id"), NULL, 16);
        char head[9];
        (void)snprintf(head, sizeof head, "%.8s", text_of(row, "trace_id"));
        trace = (uint32_t)strtoul(head, NULL, 16);
        REQUIRE(trace >= 1 && trace <= TRACES && !seen[trace]);
        seen[trace] = true;
        line l = line_of(trace, service);
        /* Two spans may begin at once: either may stand for the trace. */
        const kept *root = span_of(trace, text_of(row, "root"));
        bool right = l.of_service && root && root->spec.start == l.root->spec.start &&
                     !root->spec.parent == !l.root->spec.parent &&
                     strcmp(text_of(row, "service"), root->service) == 0 &&
                     number_of(row, "spans") == (json_int_t)l.count &&
                     number_of(row, "duration_ns") == (json_int_t)(l.end - l.start) &&
                     json_is_true(json_object_get(row, "error")) == l.error;
        if (!right)
            sl_test_failed(__FILE__, __LINE__, "line of trace %u", trace);
    }
    json_decref(list);
}

SL_TEST(the_view_says_what_the_spans_say)
{
    for (uint64_t seed = 1; seed <= 12; seed++) {
        state = seed;
        span_count = 0;
        for (uint32_t t = 1; t <= TRACES; t++)
            make_trace(t);
        sl_live *live = sl_live_new(NULL);
        REQUIRE(live);
        send_all(live);
        sl_live_stats stats;
        sl_live_get_stats(live, &stats);
        CHECK(stats.traces == TRACES && stats.spans == span_count && stats.received_spans == span_count);
        CHECK(stats.evicted_traces == 0 && stats.dropped_spans == 0);
        for (uint32_t t = 1; t <= TRACES; t++)
            check_trace(live, t);
        for (size_t s = 0; s < 3; s++)
            check_list(live, 1 + chance(50), services[s]);
        check_list(live, 0, "");
        check_list(live, 1000, "");
        check_list(live, 5, "nobody");
        sl_live_free(live);
    }
}

/* The beginning of an id is enough where it is of one trace; every shorter one says that there are several. */
SL_TEST(ids_by_their_beginning)
{
    state = 3;
    span_count = 0;
    for (uint32_t t = 1; t <= TRACES; t++)
        make_trace(t);
    sl_live *live = sl_live_new(NULL);
    REQUIRE(live);
    send_all(live);
    for (uint32_t t = 1; t <= TRACES; t++) {
        char id[33];
        (void)snprintf(id, sizeof id, "%08X%024x", t, 0);
        for (size_t len = 4; len <= 32; len++) {
            size_t same = 0;
            for (uint32_t o = 1; o <= TRACES; o++) {
                char other[33];
                (void)snprintf(other, sizeof other, "%08X%024x", o, 0);
                same += strncmp(id, other, len) == 0;
            }
            char begin[33] = "";
            memcpy(begin, id, len);
            json_decref(trace_json(live, begin, same == 1 ? 0 : SL_EEXIST));
        }
    }
    static const char *const bad[] = {"", "0", "000", "xyz1", "0000000g", "000000010000000000000000000000000"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(trace_json(live, bad[i], SL_EPARSE) == NULL);
    CHECK(trace_json(live, "ffffffff", SL_ENOENT) == NULL);
    sl_live_free(live);
}

/* However little room there is, what is shown is whole: the newest traces, each with all of its spans. */
SL_TEST(little_room_keeps_the_newest_whole)
{
    for (size_t most = 1; most <= 10; most++) {
        state = most;
        span_count = 0;
        sl_live *live = sl_live_new(&(sl_live_options){.max_traces = most});
        REQUIRE(live);
        for (uint32_t t = 1; t <= TRACES; t++) {
            size_t first = span_count;
            make_trace(t);
            for (size_t i = first; i < span_count; i++) {
                sl_buf batch;
                sl_buf_init(&batch, 1u << 20);
                put_resource(&batch, spans[i].service, &spans[i].spec, 1, sl_str_of(NULL, 0));
                CHECK_EQ(sl_live_add(live, sl_buf_str(&batch)), 0);
                sl_buf_done(&batch);
            }
        }
        sl_live_stats stats;
        sl_live_get_stats(live, &stats);
        CHECK_EQ(stats.traces, most);
        CHECK_EQ(stats.evicted_traces, TRACES - most);
        for (uint32_t t = TRACES - (uint32_t)most + 1; t <= TRACES; t++)
            check_trace(live, t);
        char gone[33];
        (void)snprintf(gone, sizeof gone, "%08x%024x", (unsigned)(TRACES - most), 0);
        CHECK(trace_json(live, gone, SL_ENOENT) == NULL);
        sl_live_free(live);
    }
}
