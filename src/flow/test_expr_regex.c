/* Regular expressions against the C library's, for patterns that both define; and what only ours must hold. */
#include "src/flow/expr_regex.h"

#include <regex.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/limits.h"
#include "src/base/rng.h"
#include "tests/harness/sl_chance.h"
#include "tests/harness/sl_test.h"

/* ---- patterns by chance ---- */

typedef struct maker {
    uint64_t state;
    char text[256];
    size_t len;
} maker;

static unsigned chance(maker *m, unsigned below)
{
    return sl_chance(&m->state, below);
}

static void add(maker *m, const char *part)
{
    size_t len = strlen(part);
    if (m->len + len < sizeof m->text) {
        memcpy(m->text + m->len, part, len + 1);
        m->len += len;
    }
}

static void add_alternation(maker *m, unsigned depth);

static void add_atom(maker *m, unsigned depth)
{
    static const char *const atoms[] = {"a",     "b",   "c",    "ab",          ".",           "[ab]", "[^a]",
                                        "[a-b]", "\\.", "[.b]", "[[:alpha:]]", "[[:digit:]]", "1",    "[^[:digit:]b]"};
    if (depth == 0 || chance(m, 3)) {
        add(m, atoms[chance(m, sizeof atoms / sizeof *atoms)]);
        return;
    }
    add(m, "(");
    add_alternation(m, depth - 1);
    add(m, ")");
}

static void add_sequence(maker *m, unsigned depth)
{
    static const char *const repeats[] = {"*", "+", "?", "{2}", "{1,2}", "{0,1}", "{2,}", "{0}"};
    for (unsigned i = 0, n = 1 + chance(m, 3); i < n; i++) {
        size_t before = m->len;
        add_atom(m, depth);
        /* A repeat is of one atom: "ab" has two. */
        bool two = m->len == before + 2 && m->text[before] == 'a';
        if (!two && chance(m, 3) == 0)
            add(m, repeats[chance(m, sizeof repeats / sizeof *repeats)]);
    }
}

static void add_alternation(maker *m, unsigned depth)
{
    add_sequence(m, depth);
    while (chance(m, 4) == 0) {
        add(m, "|");
        add_sequence(m, depth);
    }
}

/* An anchor stands only at the ends of the whole: elsewhere the C library is free in what it does. */
static void make_pattern(maker *m)
{
    m->len = 0;
    m->text[0] = '\0';
    bool anchored = chance(m, 6) == 0, ended = chance(m, 6) == 0;
    add(m, anchored ? "^(" : "(");
    add_alternation(m, 2);
    add(m, ended ? ")$" : ")");
}

static void make_text(maker *m, char *text, size_t size)
{
    static const char letters[] = "aabbc1.a";
    size_t len = chance(m, (unsigned)size);
    for (size_t i = 0; i < len; i++)
        text[i] = letters[chance(m, sizeof letters - 1)];
    text[len] = '\0';
}

static int find(const char *pattern, sl_str text, size_t from, size_t *ret_start, size_t *ret_end)
{
    sl_flow_work work = {.steps = 10000000, .bytes = 1000000};
    sl_regex *regex = NULL;
    int error = sl_regex_new(&work, sl_str_c(pattern), &regex);
    if (!error)
        error = sl_regex_find(regex, &work, text, from, ret_start, ret_end);
    sl_regex_free(regex);
    return error;
}

SL_TEST(the_c_library_finds_the_same)
{
    maker m = {.state = 20260101};
    unsigned matched = 0, compared = 0;
    for (int i = 0; i < 4000; i++) {
        make_pattern(&m);
        regex_t theirs;
        if (m.len + 1 >= sizeof m.text || regcomp(&theirs, m.text, REG_EXTENDED))
            continue;
        for (int k = 0; k < 6; k++) {
            char text[14];
            make_text(&m, text, sizeof text);
            regmatch_t match;
            bool found = regexec(&theirs, text, 1, &match, 0) == 0;
            size_t start = SL_NPOS, end = 0;
            int error = find(m.text, sl_str_c(text), 0, &start, &end);
            compared++;
            matched += found;
            bool same = found ? start == (size_t)match.rm_so && end == (size_t)match.rm_eo : start == SL_NPOS;
            if (error || !same)
                sl_test_failed(__FILE__, __LINE__, "%s in \"%s\": %d, %zd-%zu, theirs %d: %d-%d", m.text, text, error,
                               (ssize_t)start, end, found, found ? (int)match.rm_so : -1,
                               found ? (int)match.rm_eo : -1);
        }
        regfree(&theirs);
    }
    CHECK(compared > 20000 && matched > compared / 4);
}

/* ---- what POSIX leaves open, or has not ---- */

typedef struct row {
    const char *pattern;
    const char *text;
    size_t from;
    long start, end; /* -1: none */
} row;

static const row rows[] = {
    /* Shorthands. */
    {"\\d+", "ab123c", 0, 2, 5},
    {"\\D+", "12ab3", 0, 2, 4},
    {"\\w+", "-a_9-", 0, 1, 4},
    {"\\s+", "a \t\n\v\f\rb", 0, 1, 7},
    {"\\S+", "  ab ", 0, 2, 4},
    {"[\\d]+", "a12", 0, 1, 3},
    {"\\$\\d", "cost $5", 0, 5, 7},
    {"\\(a\\)", "(a)", 0, 0, 3},
    {"\\[\\]", "[]", 0, 0, 2},
    {"\\\\", "a\\b", 0, 1, 2},
    {"a\\|b", "a|b", 0, 0, 3},
    {"a\\{2\\}", "a{2}", 0, 0, 4},
    /* Anchors within groups and alternatives. */
    {"(^a|b)c", "bc", 0, 0, 2},
    {"(^a|b)c", "xac", 0, -1, 0},
    {"a(b$|c)", "acab", 0, 0, 2},
    {"^", "abc", 0, 0, 0},
    {"$", "abc", 0, 3, 3},
    {"a^b", "a^b", 0, -1, 0},
    /* From a place: what is before it does not count, but it is no beginning. */
    {"a", "aba", 1, 2, 3},
    {"^b", "ab", 1, -1, 0},
    {"b$", "abab", 2, 3, 4},
    {"", "ab", 2, 2, 2},
    {"a", "ab", 2, -1, 0},
    /* Characters, not bytes. */
    {".", "\xE2\x82\xAC", 0, 0, 3},
    {"..", "\xC3\xA4\xF0\x9F\x98\x80x", 0, 0, 6},
    {"[\xC3\xA4-\xC3\xBC]+", "a\xC3\xB6\xC3\xBC\xC3\xBF", 0, 1, 5},
    {"[^a]", "a\xC3\xA4", 0, 1, 3},
    {"\xE2\x82\xAC{2}", "\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC", 0, 0, 6},
    {"[\xC3\xA4\xE2\x82\xAC]$", "\xC3\xA4\xE2\x82\xAC", 0, 2, 5},
    {"[^\xC3\xA4]+", "\xC3\xA4\xC3\xB6x\xE2\x82\xAC\xC3\xA4", 0, 2, 8},
    {"[^\xC3\xA4-\xE2\x82\xACz]", "\xC3\xA4zx", 0, 3, 4},
    {"[a-\xC3\xA4]+", "Z\xC3\x84z\xC3\xA4\xC3\xA5", 0, 1, 6},
    {"[\\D\xC3\xA4]+",
     "1\xC3\xB6"
     "a2",
     0, 1, 4},
    {"[^\\D]+", "a12\xC3\xA4", 0, 1, 3},
    {"[^\\D\xC3\xA4]+",
     "\xC3\xA4"
     "12\xC3\xB6",
     0, 2, 4},
    {"[\xF0\x9F\x98\x80-\xF0\x9F\x98\x8F]{2}", "\xF0\x9F\x98\x90\xF0\x9F\x98\x81\xF0\x9F\x98\x82", 0, 4, 12},
    {"[\xC3\xA4\xC3\xA4-\xC3\xBC]", "\xC3\xB6", 0, 0, 2},
    {"\\\xC3\xA4+", "\xC3\xA4\xC3\xA4", 0, 0, 4},
    /* A new line is a character as others. */
    {"a.b", "a\nb", 0, 0, 3},
    {"^b", "a\nb", 0, -1, 0},
    {"[^a]b", "a\nb", 0, 1, 3},
    /* Longest, not first. */
    {"a|ab|abc", "abcd", 0, 0, 3},
    {"(a|ab)(c|bcd)", "abcd", 0, 0, 4},
    {"x*", "aaa", 0, 0, 0},
    {"(|a)b", "ab", 0, 0, 2},
    {"a{0,0}b", "ab", 0, 1, 2},
};

SL_TEST(rules_beyond_the_c_library)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t start = 77, end = 77;
        int error = find(rows[i].pattern, sl_str_c(rows[i].text), rows[i].from, &start, &end);
        bool none = rows[i].start < 0;
        if (error || (none ? start != SL_NPOS : start != (size_t)rows[i].start || end != (size_t)rows[i].end))
            sl_test_failed(__FILE__, __LINE__, "%s in %s from %zu: %d %zd-%zu", rows[i].pattern, rows[i].text,
                           rows[i].from, error, (ssize_t)start, end);
    }
}

SL_TEST(brackets_of_characters_are_bounded_and_checked)
{
    size_t start, end;
    CHECK_EQ(find("[\xC3\xBC-\xC3\xA4]", SL_STR("x"), 0, &start, &end), SL_EINVAL);
    CHECK_EQ(find("[\xC3\xA4-a]", SL_STR("x"), 0, &start, &end), SL_EINVAL);
    char pattern[1024] = "[";
    for (unsigned i = 0; i < 61; i++) { /* every other one, so that they do not join */
        char *at = pattern + strlen(pattern);
        unsigned c = 0x400 + 2 * i;
        at[0] = (char)(0xC0 | c >> 6);
        at[1] = (char)(0x80 | (c & 0x3F));
        at[2] = 0;
        bool fits = i < 60;
        size_t len = strlen(pattern);
        pattern[len] = ']';
        CHECK_EQ(find(pattern, SL_STR("\xD0\x80"), 0, &start, &end), fits ? 0 : SL_EINVAL);
        CHECK(!fits || (start == 0 && end == 2));
        pattern[len] = 0;
    }
    pattern[strlen(pattern) - 2] = 0;
    memmove(pattern + 2, pattern + 1, strlen(pattern));
    memcpy(pattern, "[^", 2);
    strcat(pattern, "]");
    CHECK_EQ(find(pattern, SL_STR("\xD0\x80\xD0\x81"), 0, &start, &end), 0);
    CHECK(start == 2 && end == 4);
}

SL_TEST(a_text_may_hold_a_nul)
{
    size_t start, end;
    CHECK_EQ(find("a.b", sl_str_of("a\0b", 3), 0, &start, &end), 0);
    CHECK(start == 0 && end == 3);
    CHECK_EQ(find("[^a]", sl_str_of("\0a", 2), 0, &start, &end), 0);
    CHECK(start == 0 && end == 1);
}

/* Whatever a pattern is, it takes a time that is bounded by the text times the pattern. */
SL_TEST(work_grows_with_the_text_and_no_faster)
{
    static const char *const evil[] = {"(a*)*b",        "(a|a)*b",        "(a|aa)+$b",
                                       "(.*)(.*)(.*)x", "(a?){20}a{20}b", "((a+)+)+b"};
    static char text[16384];
    memset(text, 'a', sizeof text);
    for (size_t i = 0; i < sizeof evil / sizeof *evil; i++) {
        uint64_t used[2];
        for (int big = 0; big < 2; big++) {
            sl_flow_work work = {.steps = UINT64_MAX / 2, .bytes = 1000000};
            sl_regex *regex = NULL;
            REQUIRE(sl_regex_new(&work, sl_str_c(evil[i]), &regex) == 0);
            uint64_t before = work.steps;
            size_t start, end;
            CHECK_EQ(sl_regex_find(regex, &work, sl_str_of(text, big ? 4096 : 1024), 0, &start, &end), 0);
            CHECK(start == SL_NPOS);
            used[big] = before - work.steps;
            sl_regex_free(regex);
        }
        /* Four times the text: at most four times the work, and a little for the beginning. */
        if (used[1] > 5 * used[0])
            sl_test_failed(__FILE__, __LINE__, "%s: %llu, then %llu steps", evil[i], (unsigned long long)used[0],
                           (unsigned long long)used[1]);
    }
}

SL_TEST(a_search_ends_when_its_work_is_used_up)
{
    static char text[100000];
    memset(text, 'a', sizeof text);
    sl_flow_fault fault = {0};
    sl_flow_work work = {.steps = 50000, .bytes = 1000000, .fault = &fault};
    sl_regex *regex = NULL;
    REQUIRE(sl_regex_new(&work, SL_STR("(a|b|c|d)*e"), &regex) == 0);
    size_t start, end;
    CHECK_EQ(sl_regex_find(regex, &work, sl_str_of(text, sizeof text), 0, &start, &end), SL_ETOOBIG);
    CHECK(fault.message[0]);
    sl_regex_free(regex);
}

/* Every sequence of up to four of these characters either compiles or is refused with a reason; none harms. */
SL_TEST(every_short_pattern_is_safe)
{
    static const char letters[] = "a()[]{}*+?|^$\\-:,1.";
    const size_t n = sizeof letters - 1;
    unsigned good = 0, bad = 0;
    for (size_t code = 0; code < n * n * n * n; code++) {
        char pattern[5];
        size_t rest = code;
        for (size_t i = 0; i < 4; i++, rest /= n)
            pattern[i] = letters[rest % n];
        size_t len = 1 + code % 4;
        sl_flow_fault fault = {0};
        sl_flow_work work = {.steps = 100000, .bytes = 100000, .fault = &fault};
        sl_regex *regex = NULL;
        int error = sl_regex_new(&work, sl_str_of(pattern, len), &regex);
        size_t start = 0, end = 0;
        if (!error) {
            good++;
            error = sl_regex_find(regex, &work, SL_STR("a(b)[1]{x}a1"), 0, &start, &end);
            CHECK(error == 0 && (start == SL_NPOS || (start <= end && end <= 12)));
        } else {
            bad++;
            if ((error != SL_EINVAL && error != SL_ETOOBIG) || !fault.message[0] || regex)
                sl_test_failed(__FILE__, __LINE__, "%.*s: %d %s", (int)len, pattern, error, fault.message);
        }
        sl_regex_free(regex);
    }
    CHECK(good > 1000 && bad > 1000);
}

SL_TEST(patterns_survive_every_failed_allocation)
{
    for (long n = 0; n < 500; n++) {
        size_t start, end;
        sl_test_fail_alloc(n);
        int error = find("^(a[b-d]+|\\d{2,3})*[[:alpha:]]$", SL_STR("abcd12x"), 0, &start, &end);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        if (!failed) {
            CHECK_EQ(error, 0);
            CHECK(start == 0 && end == 7);
            break;
        }
        CHECK_EQ(error, SL_ENOMEM);
    }
}
