/* Prices: which row a model gets, and sums to the cent. */
#include "src/llm/price.h"

#include "tests/harness/sl_test.h"

static bool near(double a, double b)
{
    double d = a - b;
    return d < 1e-12 && d > -1e-12;
}

SL_TEST(models_find_their_row)
{
    static const struct {
        const char *provider, *model;
        double input, output; /* below 0: not known */
    } cases[] = {
        {"openai", "gpt-4o", 2.5, 10},
        {"openai", "gpt-4o-2024-08-06", 2.5, 10},
        {"openai", "gpt-4o-2024-05-13", 5, 15},
        {"openai", "gpt-4o-mini", 0.15, 0.6},
        {"openai", "gpt-4o-mini-2024-07-18", 0.15, 0.6},
        {"openai", "gpt-4o-audio-preview", -1, -1},
        {"openai", "gpt-4o-2024-13", -1, -1},
        {"openai", "gpt-4", 30, 60},
        {"openai", "gpt-4-0613", 30, 60},
        {"openai", "gpt-4-9999", -1, -1},
        {"openai", "gpt-4-turbo-2024-04-09", 10, 30},
        {"openai", "gpt-4-1106-preview", 10, 30},
        {"openai", "gpt-3.5-turbo", 0.5, 1.5},
        {"openai", "gpt-3.5-turbo-1106", 1, 2},
        {"openai", "chatgpt-4o-latest", 5, 15},
        {"openai", "text-embedding-ada-002-v2", 0.1, 0},
        {"openai", "ft:gpt-4o-mini-2024-07-18:acme::x", -1, -1},
        {"openai", "claude-3-haiku-20240307", -1, -1},
        {"openai", "", -1, -1},
        {"openai", "-latest", -1, -1},
        {"anthropic", "claude-3-haiku-20240307", 0.25, 1.25},
        {"anthropic", "claude-haiku-4-5-20251001", 1, 5},
        {"anthropic", "claude-haiku-4-5@20251001", 1, 5},
        {"anthropic", "claude-opus-4-20250514", 15, 75},
        {"anthropic", "claude-opus-4-5-20251101", 5, 25},
        {"anthropic", "claude-3-5-sonnet-latest", 3, 15},
        {"anthropic", "claude-haiku", -1, -1},
        {"gcp.gemini", "gemini-2.0-flash-001", 0.1, 0.4},
        {"gcp.gemini", "gemini-2.5-flash-lite", 0.1, 0.4},
        {"mistral_ai", "mistral-large-latest", 0.5, 1.5},
        {"mistral_ai", "mistral-large-2407", 3, 9},
        {"mistral_ai", "mistral-large-2402", -1, -1},
        {"mock", "gpt-4o", -1, -1},
        {"", "gpt-4o", -1, -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_price price = {.input = -1, .output = -1};
        bool found = sl_price_find(sl_str_c(cases[i].provider), sl_str_c(cases[i].model), &price);
        if (found != (cases[i].input >= 0) || !near(price.input, cases[i].input) ||
            !near(price.output, cases[i].output))
            sl_test_failed(__FILE__, __LINE__, "%s/%s: %d %g %g", cases[i].provider, cases[i].model, found, price.input,
                           price.output);
    }
}

SL_TEST(sums_to_the_cent)
{
    static const struct {
        sl_price price;
        sl_price_tokens tokens;
        double usd;
    } cases[] = {
        {{2.5, 10, 1.25, -1}, {1000000, 1000000, 0, 0}, 12.5},
        {{2.5, 10, 1.25, -1}, {1000, 200, 0, 0}, 0.0045},
        {{2.5, 10, 1.25, -1}, {1000, 0, 400, 0}, 0.0020},
        {{3, 15, 0.3, 3.75}, {1000, 0, 400, 100}, 0.001995},
        {{3, 15, -1, -1}, {1000, 0, 400, 100}, 0.003},
        {{0.02, 0, -1, -1}, {50, 0, 0, 0}, 0.000001},
        {{0, 0, 0, 0}, {50, 50, 5, 5}, 0},
        {{3, 15, 0.3, 3.75}, {0, 0, 0, 0}, 0},
        {{1, 1, 1, 1}, {10, 0, 30, 0}, 0.00003}, /* more cached than there are: never negative */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double usd = sl_price_cost(&cases[i].price, &cases[i].tokens);
        if (!near(usd, cases[i].usd))
            sl_test_failed(__FILE__, __LINE__, "case %zu: %.12g, not %.12g", i, usd, cases[i].usd);
    }
}

/* A row that no model can reach, because one above it takes all of them, would be a price that nobody sees. */
SL_TEST(every_row_is_sound_and_reached)
{
    sl_price_row row;
    size_t count = 0;
    for (; sl_price_row_at(count, &row); count++) {
        CHECK(row.provider.len && row.model.len);
        CHECK(row.price.input >= 0 && row.price.output >= 0 && row.price.input < 1000 && row.price.output < 1000);
        CHECK(row.price.cache_read <= row.price.input);
        char name[64];
        REQUIRE(sl_str_to_c(row.model, name, sizeof name));
        for (char *c = name; *c; c++)
            *c = *c == '*' || *c == '?' ? 'x' : *c;
        sl_price price;
        CHECK(sl_price_find(row.provider, sl_str_c(name), &price));
        if (memcmp(&price, &row.price, sizeof price) != 0)
            sl_test_failed(__FILE__, __LINE__, "%s is priced by another row", name);
    }
    CHECK(count >= 36);
    CHECK_EQ(strlen(sl_price_date()), 10);
}
