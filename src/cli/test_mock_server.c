/* The shares of faults that the mock is asked for. */
#include "src/cli/mock_server.h"

#include "tests/harness/sl_test.h"

SL_TEST(shares_of_faults)
{
    static const struct {
        const char *texts[3];
        const char *reason; /* of the last one; NULL: all are taken */
    } rows[] = {
        {{"429=0.1"}, NULL},
        {{"hang"}, NULL}, /* all of them */
        {{"429=0.5", "500=0.5"}, NULL},
        {{"500=0.5", "429=0.5"}, NULL},
        {{"429=0.9", "429=0.3", "500=0.7"}, NULL}, /* the last word about a kind counts */
        {{"slow=0"}, NULL},
        {{"429=0.6", "500=0.6"}, "the shares add up to more than 1"},
        {{"500=0.6", "429=0.6"}, "the shares add up to more than 1"},
        {{"truncate=1", "429=0.01"}, "the shares add up to more than 1"},
        {{"429=1.01"}, "the share is a number from 0 to 1"},
        {{"429=-0.1"}, "the share is a number from 0 to 1"},
        {{"429="}, "the share is a number from 0 to 1"},
        {{"429=half"}, "the share is a number from 0 to 1"},
        {{"teapot=1"}, "kinds are 429 500 hang reset slow split nousage badjson truncate"},
        {{""}, "kinds are 429 500 hang reset slow split nousage badjson truncate"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_mock_options options;
        const char *reason = NULL;
        bool taken = true;
        memset(&options, 0, sizeof options);
        for (size_t k = 0; k < 3 && rows[i].texts[k] && taken; k++)
            taken = sl_mock_parse_fault(sl_str_c(rows[i].texts[k]), &options, &reason);
        CHECK_EQ(taken, rows[i].reason == NULL);
        CHECK_STR(sl_str_c(reason ? reason : ""), rows[i].reason ? rows[i].reason : "");
        double total = 0;
        for (size_t k = 0; k < SL_MOCK_FAULT_COUNT; k++)
            total += options.share[k];
        CHECK(total <= 1.0 + 1e-9);
    }
}
