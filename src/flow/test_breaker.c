/* When breakers open, try again and close; what they show. */
#include "src/flow/breaker.h"

#include <stdio.h>
#include <stdlib.h>

#include "src/telemetry/sdk_impl.h"
#include "tests/harness/sl_test.h"

#define P SL_STR("openai")

static void fail_times(sl_breakers *b, unsigned count, uint64_t now_ms)
{
    for (unsigned i = 0; i < count; i++) {
        sl_breakers_call(b, P, now_ms);
        sl_breakers_end(b, P, false, "provider_error", now_ms);
    }
}

/* The last one that is 1: "closed", "open" or "half_open". */
static const char *shown(sl_sdk *sdk)
{
    static const char *const states[] = {"closed", "open", "half_open"};
    char *page = sl_gather_metrics(sdk);
    const char *state = "";
    unsigned ones = 0;
    for (size_t i = 0; page && i < 3; i++) {
        char line[160];
        (void)snprintf(line, sizeof line, "orchestrator_circuit_breaker_state{provider=\"openai\",state=\"%s\"} 1\n",
                       states[i]);
        if (strstr(page, line)) {
            state = states[i];
            ones++;
        }
    }
    CHECK_EQ(ones, 1);
    free(page);
    return state;
}

SL_TEST(a_breaker_opens_tries_again_and_closes)
{
    sl_breakers *b = sl_breakers_new(NULL);
    char text[128] = "";
    fail_times(b, SL_BREAKER_FAILURES - 1, 1000);
    CHECK_EQ(sl_breakers_open(b, text, sizeof text), 0);
    CHECK_STR(sl_str_c(text), "");
    sl_breakers_end(b, P, true, NULL, 1000); /* one good call in between: counted from the start */
    fail_times(b, SL_BREAKER_FAILURES - 1, 1000);
    CHECK_EQ(sl_breakers_open(b, NULL, 0), 0);
    fail_times(b, 1, 1000);
    CHECK_EQ(sl_breakers_open(b, text, sizeof text), 1);
    CHECK_STR(sl_str_c(text), "openai: the last 5 calls failed: provider_error");
    sl_breakers_end(b, SL_STR("other"), false, "timeout", 1000);
    CHECK_EQ(sl_breakers_open(b, text, sizeof text), 1);
    sl_breakers_call(b, P, 1000 + SL_BREAKER_COOL_MS);
    CHECK_EQ(sl_breakers_open(b, text, sizeof text), 1); /* not closed before it is answered */
    sl_breakers_end(b, P, true, NULL, 1000 + SL_BREAKER_COOL_MS);
    CHECK_EQ(sl_breakers_open(b, text, sizeof text), 0);
    sl_breakers_free(b);
    sl_breakers_free(NULL);
}

SL_TEST(every_state_is_shown)
{
    sl_sdk *sdk = NULL;
    const sl_sdk_internal_options internal = {.export_only_when_set = true};
    REQUIRE(sl_sdk_new_internal(NULL, &internal, &sdk) == 0);
    sl_breakers *b = sl_breakers_new(sdk);
    sl_breakers_call(b, P, 5);
    sl_breakers_end(b, P, true, NULL, 6);
    CHECK_STR(sl_str_c(shown(sdk)), "closed");
    fail_times(b, SL_BREAKER_FAILURES, 10);
    CHECK_STR(sl_str_c(shown(sdk)), "open");
    sl_breakers_call(b, P, 10 + SL_BREAKER_COOL_MS - 1);
    CHECK_STR(sl_str_c(shown(sdk)), "open");
    sl_breakers_call(b, P, 10 + SL_BREAKER_COOL_MS);
    CHECK_STR(sl_str_c(shown(sdk)), "half_open");
    sl_breakers_end(b, P, false, "timeout", 20 + SL_BREAKER_COOL_MS); /* and it is open for as long again */
    CHECK_STR(sl_str_c(shown(sdk)), "open");
    sl_breakers_call(b, P, 20 + 2 * SL_BREAKER_COOL_MS - 1);
    CHECK_STR(sl_str_c(shown(sdk)), "open");
    sl_breakers_end(b, P, true, NULL, 20 + 2 * SL_BREAKER_COOL_MS); /* any answer closes it */
    CHECK_STR(sl_str_c(shown(sdk)), "closed");
    sl_breakers_free(b);
    sl_sdk_free(sdk);
}

SL_TEST(no_more_providers_than_the_limit)
{
    sl_breakers *b = sl_breakers_new(NULL);
    for (unsigned i = 0; i < 2 * SL_BREAKER_MAX; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "p%u", i);
        for (unsigned k = 0; k < SL_BREAKER_FAILURES; k++)
            sl_breakers_end(b, sl_str_c(name), false, "timeout", 1);
    }
    CHECK_EQ(sl_breakers_open(b, NULL, 0), SL_BREAKER_MAX);
    sl_breakers_free(b);
}
