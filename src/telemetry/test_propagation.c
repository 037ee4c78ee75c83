/* Propagation: every format there and back, which of several counts, broken headers. */
#include "src/telemetry/test_span_read.h"

typedef struct header {
    char name[32];
    char value[2048];
} header;

typedef struct headers {
    header list[16];
    size_t count;
} headers;

static void set(void *user, sl_str name, sl_str value)
{
    headers *h = user;
    CHECK(h->count < 16);
    CHECK(sl_str_to_c(name, h->list[h->count].name, sizeof h->list[0].name));
    CHECK(sl_str_to_c(value, h->list[h->count].value, sizeof h->list[0].value));
    h->count++;
}

static sl_str get(void *user, sl_str name)
{
    headers *h = user;
    for (size_t i = 0; i < h->count; i++) {
        if (sl_str_eq_c(name, h->list[i].name))
            return sl_str_c(h->list[i].value);
    }
    return sl_str_of(NULL, 0);
}

static void add(headers *h, const char *name, const char *value)
{
    set(h, sl_str_c(name), sl_str_c(value));
}

#define PARENT "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

SL_TEST(propagation_there_and_back)
{
    static const unsigned sets[] = {SL_PROPAGATE_TRACECONTEXT, SL_PROPAGATE_B3, SL_PROPAGATE_B3MULTI,
                                    SL_PROPAGATE_JAEGER,
                                    SL_PROPAGATE_TRACECONTEXT | SL_PROPAGATE_B3 | SL_PROPAGATE_B3MULTI};
    sl_test_sdk t;
    sl_test_sdk_init(&t, NULL);
    sl_tracer *tracer = sl_tracer_named(&t.sdk, "lib");
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        t.sdk.propagators = sets[i] | SL_PROPAGATE_BAGGAGE;
        sl_span *span = sl_span_start(tracer, SL_STR("n"), NULL);
        sl_baggage *baggage = sl_baggage_new(), *back = NULL;
        CHECK_EQ(sl_baggage_set(baggage, SL_STR("user"), SL_STR("J\xc3\xbcrgen ,x"), SL_STR("")), 0);
        headers h = {.count = 0};
        sl_propagation_inject(&t.sdk, span, baggage, set, &h);
        sl_span_context sent, received;
        char state[512];
        sl_span_get_context(span, &sent);
        CHECK_EQ(sl_propagation_extract(&t.sdk, get, &h, state, sizeof state, &received, &back), 0);
        CHECK(memcmp(sent.trace_id, received.trace_id, 16) == 0);
        CHECK(memcmp(sent.span_id, received.span_id, 8) == 0);
        CHECK(received.flags & SL_TRACE_FLAG_SAMPLED);
        CHECK(received.remote);
        CHECK_STR(sl_baggage_get(back, SL_STR("user")), "J\xc3\xbcrgen ,x");
        sl_baggage_free(back);
        sl_baggage_free(baggage);
        sl_span_end(span);
    }
    sl_test_sdk_done(&t);
}

SL_TEST(propagation_of_what_is_current)
{
    sl_test_sdk t;
    sl_test_sdk_init(&t, &(sl_test_sdk_options){.sampler = {.kind = SL_SAMPLER_ALWAYS_OFF}});
    headers h = {.count = 0};
    sl_propagation_inject(&t.sdk, NULL, NULL, set, &h);
    CHECK_EQ(h.count, 0);
    sl_span_context parent = {.trace_id = {1}, .span_id = {2}, .flags = 2, .tracestate = SL_STR("k=v")};
    sl_span *span =
        sl_span_start(sl_tracer_named(&t.sdk, "lib"), SL_STR("n"), &(sl_span_options){.parent_context = &parent});
    sl_baggage *baggage = sl_baggage_new();
    CHECK_EQ(sl_baggage_set(baggage, SL_STR("a"), SL_STR("b"), SL_STR("")), 0);
    (void)sl_span_attach(span);
    (void)sl_baggage_attach(baggage);
    sl_propagation_inject(&t.sdk, NULL, NULL, set, &h);
    CHECK_EQ(h.count, 3);
    sl_str traceparent = get(&h, SL_STR("traceparent"));
    CHECK_EQ(traceparent.len, SL_TRACEPARENT_LEN);
    CHECK(sl_str_ends(traceparent, SL_STR("-02"))); /* unsampled goes on as unsampled, random stays */
    CHECK_STR(get(&h, SL_STR("tracestate")), "k=v");
    CHECK_STR(get(&h, SL_STR("baggage")), "a=b");
    h.count = 0;
    t.sdk.propagators = 0;
    sl_propagation_inject(&t.sdk, NULL, NULL, set, &h);
    CHECK_EQ(h.count, 0);
    (void)sl_baggage_attach(NULL);
    sl_baggage_free(baggage);
    sl_span_end(span);
    sl_test_sdk_done(&t);
}

SL_TEST(propagation_which_one_counts)
{
    sl_test_sdk t;
    sl_test_sdk_init(&t, NULL);
    t.sdk.propagators = SL_PROPAGATE_TRACECONTEXT | SL_PROPAGATE_B3 | SL_PROPAGATE_B3MULTI | SL_PROPAGATE_JAEGER;
    static const struct {
        const char *traceparent, *b3, *multi, *uber;
        uint8_t first; /* byte of the trace id */
    } rows[] = {
        {PARENT, "1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1", "2af7651916cd43dd8448eb211c80319c", NULL, 0x0a},
        {"broken", "1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1", "2af7651916cd43dd8448eb211c80319c", NULL,
         0x1a},
        {NULL, "0", "2af7651916cd43dd8448eb211c80319c", "3af7651916cd43dd8448eb211c80319c:b7ad6b7169203331:0:1", 0x2a},
        {NULL, NULL, NULL, "3af7651916cd43dd8448eb211c80319c:b7ad6b7169203331:0:1", 0x3a},
        {NULL, NULL, NULL, "3af7651916cd43dd8448eb211c80319c:0:0:1", 0},
        {PARENT "," PARENT, NULL, NULL, NULL, 0},
        {"00-00000000000000000000000000000000-b7ad6b7169203331-01", NULL, NULL, NULL, 0},
        {NULL, NULL, "x", "x", 0}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        headers h = {.count = 0};
        if (rows[i].traceparent)
            add(&h, "traceparent", rows[i].traceparent);
        if (rows[i].b3)
            add(&h, "b3", rows[i].b3);
        if (rows[i].multi) {
            add(&h, "x-b3-traceid", rows[i].multi);
            add(&h, "x-b3-spanid", "b7ad6b7169203331");
            add(&h, "x-b3-sampled", "1");
        }
        if (rows[i].uber)
            add(&h, "uber-trace-id", rows[i].uber);
        sl_span_context context;
        CHECK_EQ(sl_propagation_extract(&t.sdk, get, &h, NULL, 0, &context, NULL), 0);
        CHECK_EQ(context.trace_id[0], rows[i].first);
        CHECK_EQ(sl_span_context_is_valid(&context), rows[i].first != 0);
    }
    sl_test_sdk_done(&t);
}

SL_TEST(propagation_tracestate)
{
    headers h = {.count = 0};
    add(&h, "traceparent", PARENT);
    add(&h, "tracestate", " a=1 ,, b=2");
    sl_span_context context;
    char state[512];
    CHECK_EQ(sl_propagation_extract(NULL, get, &h, state, sizeof state, &context, NULL), 0);
    CHECK_STR(context.tracestate, "a=1,b=2");
    CHECK_EQ(sl_propagation_extract(NULL, get, &h, state, 2, &context, NULL), 0);
    CHECK_EQ(context.tracestate.len, 0); /* no room: without, but with its parent */
    CHECK(sl_span_context_is_valid(&context));
    CHECK_EQ(sl_propagation_extract(NULL, get, &h, NULL, 0, &context, NULL), 0);
    CHECK_EQ(context.tracestate.len, 0);
    h.count = 1;
    add(&h, "tracestate", "UPPER=1");
    CHECK_EQ(sl_propagation_extract(NULL, get, &h, state, sizeof state, &context, NULL), 0);
    CHECK_EQ(context.tracestate.len, 0);
    CHECK(sl_span_context_is_valid(&context));
}

SL_TEST(propagation_without_anything)
{
    headers h = {.count = 0};
    sl_span_context context;
    sl_baggage *baggage = (sl_baggage *)&h;
    memset(&context, 0xFF, sizeof context);
    CHECK_EQ(sl_propagation_extract(NULL, get, &h, NULL, 0, &context, &baggage), 0);
    CHECK(!sl_span_context_is_valid(&context));
    CHECK(!baggage);
    CHECK_EQ(sl_propagation_extract(NULL, NULL, NULL, NULL, 0, &context, NULL), SL_EINVAL);
    CHECK_EQ(sl_propagation_extract(NULL, get, &h, NULL, 0, NULL, NULL), SL_EINVAL);
    sl_propagation_inject(NULL, NULL, NULL, NULL, NULL);
    add(&h, "baggage", "=;,,");
    CHECK_EQ(sl_propagation_extract(NULL, get, &h, NULL, 0, &context, &baggage), 0);
    CHECK(!baggage);
    add(&h, "traceparent", PARENT);
    sl_test_fail_alloc(0);
    CHECK_EQ(sl_propagation_extract(NULL, get, &h, NULL, 0, &context, &baggage), 0);
    sl_test_fail_alloc(-1);
    CHECK(sl_span_context_is_valid(&context));
}
