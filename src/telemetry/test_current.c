/* Current span and baggage, attributes for whoever is current, secrets. */
#include <pthread.h>

#include "src/telemetry/test_span_read.h"

static void *other_thread(void *user)
{
    bool *clean = user;
    *clean = sl_span_current() == NULL && sl_baggage_current() == NULL;
    (void)sl_span_attach((sl_span *)user); /* never followed: this thread only ends */
    (void)sl_baggage_attach((const sl_baggage *)user);
    return NULL;
}

SL_TEST(current_belongs_to_the_thread)
{
    sl_test_sdk t;
    sl_test_sdk_init(&t, NULL);
    sl_tracer *tracer = sl_tracer_named(&t.sdk, "lib");
    sl_span *a = sl_span_start(tracer, SL_STR("a"), NULL), *b = sl_span_start(tracer, SL_STR("b"), NULL);
    CHECK(!sl_span_attach(a));
    CHECK(sl_span_attach(b) == a);
    CHECK(sl_span_current() == b);
    bool clean = false;
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, other_thread, &clean) == 0);
    pthread_join(thread, NULL);
    CHECK(clean);
    CHECK(sl_span_attach(a) == b);
    sl_span_end(b);
    CHECK(sl_span_current() == a);
    sl_span_end(a);
    CHECK(!sl_span_current());
    sl_test_sdk_done(&t);
}

SL_TEST(current_baggage)
{
    sl_baggage *one = sl_baggage_new(), *two = sl_baggage_new();
    CHECK(!sl_baggage_attach(one));
    CHECK(sl_baggage_attach(two) == one);
    CHECK(sl_baggage_current() == two);
    CHECK(sl_baggage_attach(NULL) == two);
    CHECK(!sl_baggage_current());
    sl_baggage_free(one);
    sl_baggage_free(two);
}

SL_TEST(current_add_span_attribute)
{
    sl_test_sdk t;
    sl_test_spans got;
    sl_test_sdk_init(&t, NULL);
    sl_add_span_attribute("nobody", "listens");
    sl_span *span = sl_span_start(sl_tracer_named(&t.sdk, "lib"), SL_STR("a"), NULL);
    (void)sl_span_attach(span);
    static const char *const secret[] = {"password",      "db.password",   "API_KEY",
                                         "authorization", "client_secret", "access_token"};
    static const char *const open[] = {"customer", "gen_ai.usage.input_tokens", "token_count"};
    for (size_t i = 0; i < sizeof secret / sizeof secret[0]; i++)
        sl_add_span_attribute(secret[i], "hunter2");
    for (size_t i = 0; i < sizeof open / sizeof open[0]; i++)
        sl_add_span_attribute(open[i], "plain");
    sl_add_span_attribute(NULL, "x");
    sl_add_span_attribute("null", NULL);
    sl_span_end(span);
    sl_test_spans_read(t.sdk.segment, &got);
    REQUIRE(got.count == 1);
    for (size_t i = 0; i < sizeof secret / sizeof secret[0]; i++)
        CHECK_STR(sl_test_attr(&got.spans[0], secret[i]).str, "[REDACTED]");
    for (size_t i = 0; i < sizeof open / sizeof open[0]; i++)
        CHECK_STR(sl_test_attr(&got.spans[0], open[i]).str, "plain");
    CHECK_EQ(sl_str_find(got.spans[0].self, SL_STR("hunter2")), SL_NPOS);
    CHECK_EQ(got.spans[0].dropped_attrs, 1);
    sl_test_spans_done(&got);
    sl_test_sdk_done(&t);
}
