/* Suggestions: what is near, and the distance against its definition. */
#include "src/base/suggest.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/harness/sl_chance.h"
#include "tests/harness/sl_test.h"

/* The name that is suggested for a word out of some names; NULL: none. */
static const char *suggested(const char *word, const char *const *names, size_t count)
{
    sl_suggestion suggestion;
    sl_suggest_init(&suggestion, sl_str_c(word));
    for (size_t i = 0; i < count; i++)
        sl_suggest_offer(&suggestion, names[i]);
    return suggestion.best;
}

SL_TEST(one_slip_for_short_words_two_for_longer_ones)
{
    static const struct {
        const char *word, *name;
        bool near;
        const char *why;
    } rows[] = {
        {"", "a", false, "nothing was typed"},
        {"a", "a", true, "the same"},
        {"a", "b", false, "a single letter that is another"},
        {"a", "ab", false, "a single letter begins too much"},
        {"ab", "ac", true, "one letter exchanged"},
        {"ab", "cd", false, "both exchanged"},
        {"ab", "a", true, "one too many"},
        {"ab", "abcdefgh", true, "the beginning"},
        {"abcd", "abcdefgh", true, "the beginning, however much is missing"},
        {"abcd", "abce", true, "one exchanged of four"},
        {"abcd", "abef", false, "two exchanged of four"},
        {"abcd", "badc", false, "two swaps are four exchanges"},
        {"abcde", "abdce", true, "a swap is two exchanges, of five letters"},
        {"abcde", "abcfg", true, "two exchanged of five"},
        {"abcde", "abfgh", false, "three exchanged of five"},
        {"abcde", "abc", true, "two too many"},
        {"abcdef", "abc", false, "three too many"},
        {"abcdefgh", "bcdefghi", true, "one lost in front, one more behind"},
        {"ABC", "abc", false, "case counts"},
        {"12345678901234567890123456789012", "12345678901234567890123456789012", true, "32 letters"},
        {"123456789012345678901234567890123", "123456789012345678901234567890123", false, "33 are not looked at"},
        {"12345678901234567890123456789012", "123456789012345678901234567890123", false, "nor names of 33"},
        {"123456789012345678901234567890123", "12345678901234567890123456789012", false, "nor words of 33"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool near = suggested(rows[i].word, &rows[i].name, 1) != NULL;
        if (near != rows[i].near)
            sl_test_failed(__FILE__, __LINE__, "'%s' and '%s': %s", rows[i].word, rows[i].name, rows[i].why);
    }
}

SL_TEST(the_nearest_is_chosen_and_the_first_of_equals)
{
    static const struct {
        const char *word;
        const char *names[4];
        const char *best;
    } rows[] = {
        {"tracer", {"trace", "traces", "tracers", "trades"}, "trace"},
        {"traces", {"trace", "tracer", "traces", "trades"}, "traces"},
        {"validat", {"valid", "validates", "validate", "x"}, "validates"}, /* both begin with it */
        {"gatewya", {"gate", "get", "gateway", "gateways"}, "gateway"},
        {"modle", {"mode", "model", "middle", "modes"}, "mode"},
        {"zzzzz", {"a", "b", "c", "d"}, NULL},
        {"up", {"us", "ups", "u", "upstream"}, "us"}, /* one slip each */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *best = suggested(rows[i].word, rows[i].names, 4);
        CHECK_STR(sl_str_c(best ? best : "-"), rows[i].best ? rows[i].best : "-");
    }
}

/* Levenshtein's distance as it is defined, for short words. */
static unsigned defined(const char *a, const char *b)
{
    if (!*a || !*b)
        return (unsigned)(strlen(a) + strlen(b));
    if (*a == *b)
        return defined(a + 1, b + 1);
    unsigned exchanged = defined(a + 1, b + 1), left_out = defined(a + 1, b), added = defined(a, b + 1);
    unsigned least = exchanged < left_out ? exchanged : left_out;
    return 1 + (least < added ? least : added);
}

static void any_word(uint64_t *chance, char ret_word[8])
{
    size_t len = 2 + sl_chance(chance, 5);
    for (size_t i = 0; i < len; i++)
        ret_word[i] = (char)('a' + sl_chance(chance, 3));
    ret_word[len] = 0;
}

SL_TEST(distances_by_their_definition)
{
    uint64_t chance = 3;
    size_t near = 0;
    for (int i = 0; i < 5000; i++) {
        char word[8], name[8];
        any_word(&chance, word);
        any_word(&chance, name);
        unsigned far = defined(word, name), most = strlen(word) < 5 ? 1 : 2;
        if (far > 1 && strncmp(name, word, strlen(word)) == 0)
            far = 1;
        sl_suggestion suggestion;
        sl_suggest_init(&suggestion, sl_str_c(word));
        sl_suggest_offer(&suggestion, name);
        CHECK_EQ(suggestion.best == name, far <= most);
        if (suggestion.best)
            CHECK_EQ(suggestion.distance, far);
        near += suggestion.best != NULL;
    }
    CHECK(near > 100 && near < 4900);
}

/* The order in which names are offered does not change how near the best one is. */
SL_TEST(the_order_of_offers_does_not_matter)
{
    uint64_t chance = 9;
    for (int i = 0; i < 1000; i++) {
        char word[8], names[6][8];
        sl_suggestion forward, backward;
        any_word(&chance, word);
        for (size_t k = 0; k < 6; k++)
            any_word(&chance, names[k]);
        sl_suggest_init(&forward, sl_str_c(word));
        sl_suggest_init(&backward, sl_str_c(word));
        for (size_t k = 0; k < 6; k++) {
            sl_suggest_offer(&forward, names[k]);
            sl_suggest_offer(&backward, names[5 - k]);
        }
        CHECK_EQ(forward.distance, backward.distance);
        CHECK_EQ(forward.best != NULL, backward.best != NULL);
    }
}
