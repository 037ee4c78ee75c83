/* Option parsing and help, over a command made for the test. */
#include <stdlib.h>

#include "src/base/suggest.h"
#include "src/cli/command.h"
#include "tests/harness/sl_test.h"

typedef struct demo_options {
    bool stream;
    sl_str url;
    uint64_t requests;
    double rate;
    uint64_t wait_ms;
    sl_str_list faults;
} demo_options;

#define OPT(member) offsetof(demo_options, member)
static const sl_option demo_table[] = {
    {"stream", 's', SL_OPT_FLAG, OPT(stream), NULL, "Stream.", NULL, NULL},
    {"url", 'u', SL_OPT_STR, OPT(url), "URL", "Where.", "http://127.0.0.1:4000", "DEMO_URL"},
    {"requests", 'n', SL_OPT_U64, OPT(requests), "N", "How many.", "10", "DEMO_REQUESTS"},
    {"rate", 0, SL_OPT_DOUBLE, OPT(rate), "R", "Per second.", NULL, NULL},
    {"wait", 0, SL_OPT_MS, OPT(wait_ms), "SECONDS", "Patience.", "30", NULL},
    {"fault", 0, SL_OPT_LIST, OPT(faults), "KIND=SHARE", "Repeatable.", NULL, NULL},
    {NULL, 0, SL_OPT_FLAG, 0, NULL, NULL, NULL, NULL}};
static const sl_option *const demo_tables[] = {demo_table, NULL};
static const sl_command demo = {"demo",
                                "A command.",
                                "[options] FILE",
                                "Does something.",
                                "  sightline demo x\n",
                                demo_tables,
                                sizeof(demo_options),
                                1,
                                NULL};

/* Parses a NULL-terminated argument list; the error text goes to `error`. */
static int parse(char **argv, demo_options *options, char **args, size_t *ret_count, char *ret_special, sl_buf *error)
{
    int argc = 0;
    while (argv[argc])
        argc++;
    memset(options, 0, sizeof *options);
    sl_buf_clear(error);
    return sl_options_parse(&demo, argc, argv, options, args, ret_count, ret_special, error);
}

SL_TEST(options_of_every_type)
{
    demo_options o;
    char *args[2] = {NULL, NULL}, special;
    size_t count;
    sl_buf error;
    sl_buf_init(&error, 1000);
    char *argv[] = {"--stream", "-n",      "5",       "--rate=2.5",     "file",       "--wait",
                    "250ms",    "--fault", "429=0.1", "--fault=slow=1", "-uhttp://x", NULL};
    REQUIRE(parse(argv, &o, args, &count, &special, &error) == 0);
    CHECK(o.stream);
    CHECK_EQ(o.requests, 5);
    CHECK(o.rate == 2.5);
    CHECK_EQ(o.wait_ms, 250);
    CHECK_EQ(o.faults.count, 2);
    CHECK_STR(o.faults.items[1], "slow=1");
    CHECK_STR(o.url, "http://x");
    CHECK_EQ(count, 1);
    CHECK_STR(sl_str_c(args[0]), "file");
    CHECK(sl_option_given(&demo, "wait"));
    sl_buf_done(&error);
}

SL_TEST(options_defaults_and_environment)
{
    demo_options o;
    char *args[2], special;
    size_t count;
    sl_buf error;
    sl_buf_init(&error, 1000);
    char *none[] = {NULL};
    REQUIRE(parse(none, &o, args, &count, &special, &error) == 0);
    CHECK_EQ(o.requests, 10);
    CHECK_EQ(o.wait_ms, 30000);
    CHECK_STR(o.url, "http://127.0.0.1:4000");
    CHECK(!sl_option_given(&demo, "url"));
    setenv("DEMO_URL", "http://env", 1);
    REQUIRE(parse(none, &o, args, &count, &special, &error) == 0);
    CHECK_STR(o.url, "http://env");
    CHECK(sl_option_given(&demo, "url"));
    unsetenv("DEMO_URL");
    sl_buf_done(&error);
}

SL_TEST(options_faults_name_the_option)
{
    static const struct {
        const char *argv[4];
        const char *text;
    } cases[] = {
        {{"--nope", NULL}, "--nope: no such option"},
        {{"--nope=1", NULL}, "--nope=1: no such option"},
        {{"--", "a", "b", NULL}, "b: one argument too many"},
        {{"-x", NULL}, "-x: no such option"},
        {{"-sx", NULL}, "-sx: no such option"},
        {{"--=x", NULL}, "--=x: no such option"},
        /* Names are whole; what was meant is said. */
        {{"--req", "5", NULL}, "--req: no such option (did you mean --requests?)"},
        {{"--request=5", NULL}, "--request=5: no such option (did you mean --requests?)"},
        {{"--waits", "5", NULL}, "--waits: no such option (did you mean --wait?)"},
        {{"--strema", NULL}, "--strema: no such option (did you mean --stream?)"},
        {{"--url", NULL}, "--url: a value is missing; give --url URL"},
        {{"-n", NULL}, "--requests: a value is missing; give --requests N"},
        {{"--requests", "many", NULL}, "--requests: \"many\" is not usable; give a whole number"},
        {{"--requests", "-1", NULL}, "--requests: \"-1\" is not usable; give a whole number"},
        {{"--requests=", NULL}, "--requests: \"\" is not usable; give a whole number"},
        {{"--requests=18446744073709551616", NULL},
         "--requests: \"18446744073709551616\" is not usable; give a whole number"},
        {{"-nmany", NULL}, "--requests: \"many\" is not usable; give a whole number"},
        {{"--rate=fast", NULL}, "--rate: \"fast\" is not usable; give a number"},
        {{"--rate=nan", NULL}, "--rate: \"nan\" is not usable; give a number"},
        {{"--rate=1e999", NULL}, "--rate: \"1e999\" is not usable; give a number"},
        {{"--stream=maybe", NULL}, "--stream: \"maybe\" is not usable; give true or false"},
        {{"--wait", "1h", NULL}, "--wait: \"1h\" is not usable; give a duration in seconds, or such as 250ms, 2s, 1m"},
        {{"--wait=-1", NULL}, "--wait: \"-1\" is not usable; give a duration in seconds, or such as 250ms, 2s, 1m"},
        {{"--wait=ms", NULL}, "--wait: \"ms\" is not usable; give a duration in seconds, or such as 250ms, 2s, 1m"},
        {{"a", "b", NULL}, "b: one argument too many"}};
    demo_options o;
    char *args[4], special;
    size_t count;
    sl_buf error;
    sl_buf_init(&error, 1000);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_EQ(parse((char **)(uintptr_t)cases[i].argv, &o, args, &count, &special, &error), SL_EINVAL);
        CHECK_STR(sl_buf_str(&error), cases[i].text);
    }
    char *after[] = {"--", "--url", NULL};
    CHECK_EQ(parse(after, &o, args, &count, &special, &error), 0);
    CHECK_STR(sl_str_c(args[0]), "--url");
    sl_buf_done(&error);
}

SL_TEST(options_durations)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } rows[] = {{"0", 0},      {"1", 1000},     {"1.5", 1500},    {"250ms", 250}, {"2s", 2000},
                {"1m", 60000}, {"0.5m", 30000}, {"1e3", 1000000}, {"0.4ms", 0},   {"0.5ms", 1}};
    demo_options o;
    char *args[2], special;
    size_t count;
    sl_buf error;
    sl_buf_init(&error, 1000);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *argv[] = {"--wait", (char *)(uintptr_t)rows[i].text, NULL};
        CHECK_EQ(parse(argv, &o, args, &count, &special, &error), 0);
        CHECK_EQ(o.wait_ms, rows[i].ms);
    }
    sl_buf_done(&error);
}

/* A variable that is wrong matters only to a command that needs it. */
SL_TEST(options_a_wrong_variable)
{
    demo_options o;
    char *args[2], special;
    size_t count;
    sl_buf error;
    sl_buf_init(&error, 1000);
    char *none[] = {NULL}, *help[] = {"--help", NULL}, *given[] = {"-n", "7", NULL}, *version[] = {"-V", NULL};
    setenv("DEMO_REQUESTS", "many", 1);
    CHECK_EQ(parse(none, &o, args, &count, &special, &error), SL_EINVAL);
    CHECK_STR(sl_buf_str(&error), "DEMO_REQUESTS: \"many\" is not usable; give a whole number");
    CHECK_EQ(parse(help, &o, args, &count, &special, &error), 0);
    CHECK_EQ(special, 'h');
    CHECK_EQ(parse(version, &o, args, &count, &special, &error), 0);
    CHECK_EQ(special, 'V');
    CHECK_EQ(parse(given, &o, args, &count, &special, &error), 0);
    CHECK_EQ(o.requests, 7);
    CHECK_STR(sl_str_c(sl_option_source(&demo, "requests")), "--requests");
    setenv("DEMO_REQUESTS", "3", 1);
    CHECK_EQ(parse(none, &o, args, &count, &special, &error), 0);
    CHECK_EQ(o.requests, 3);
    CHECK(sl_option_given(&demo, "requests"));
    CHECK_STR(sl_str_c(sl_option_source(&demo, "requests")), "DEMO_REQUESTS");
    CHECK_STR(sl_str_c(sl_option_source(&demo, "rate")), "--rate");
    setenv("DEMO_REQUESTS", "", 1); /* empty is unset */
    CHECK_EQ(parse(none, &o, args, &count, &special, &error), 0);
    CHECK_EQ(o.requests, 10);
    unsetenv("DEMO_REQUESTS");
    sl_buf_done(&error);
}

SL_TEST(options_lists_at_their_limit)
{
    demo_options o;
    char *args[2], *argv[2 * SL_MAX_LIST + 3], special;
    size_t count, at = 0;
    sl_buf error;
    sl_buf_init(&error, 1000);
    for (size_t i = 0; i <= SL_MAX_LIST; i++) {
        argv[at++] = "--fault";
        argv[at++] = "x=1";
    }
    argv[at] = NULL;
    CHECK_EQ(parse(argv, &o, args, &count, &special, &error), SL_EINVAL);
    CHECK_STR(sl_buf_str(&error), "--fault: \"x=1\" is not usable; give at most 64 of them");
    argv[at - 2] = NULL;
    CHECK_EQ(parse(argv, &o, args, &count, &special, &error), 0);
    CHECK_EQ(o.faults.count, SL_MAX_LIST);
    sl_buf_done(&error);
}

SL_TEST(options_special_forms)
{
    demo_options o;
    char *args[2], special;
    size_t count;
    sl_buf error;
    sl_buf_init(&error, 1000);
    char *dash[] = {"-", NULL}, *off[] = {"-s", "--stream=false", NULL}, *last[] = {"-n", "1", "-n2", NULL};
    char *empty[] = {"--url=", NULL}, *taken[] = {"--url", "--stream", NULL};
    CHECK_EQ(parse(dash, &o, args, &count, &special, &error), 0);
    CHECK_EQ(count, 1);
    CHECK_EQ(parse(off, &o, args, &count, &special, &error), 0);
    CHECK(!o.stream);
    CHECK_EQ(parse(last, &o, args, &count, &special, &error), 0);
    CHECK_EQ(o.requests, 2);
    CHECK_EQ(parse(empty, &o, args, &count, &special, &error), 0);
    CHECK_EQ(o.url.len, 0);
    CHECK(sl_option_given(&demo, "url"));
    CHECK_EQ(parse(taken, &o, args, &count, &special, &error), 0);
    CHECK_STR(o.url, "--stream");
    CHECK(!o.stream);
    sl_buf_done(&error);
}

SL_TEST(suggestions_are_near)
{
    static const struct {
        const char *word, *best;
    } rows[] = {{"trace", "traces"}, {"taces", "traces"},   {"tarces", "traces"},
                {"tr", "traces"},    {"gatway", "gateway"}, {"mok", "mock"},
                {"upp", "up"},       {"x", NULL},           {"", NULL},
                {"nope", NULL},      {"nonsense", NULL},    {"a word that is far too long to be any command", NULL}};
    static const char *const names[] = {"traces", "gateway", "mock", "up", "doctor"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_suggestion near;
        sl_suggest_init(&near, sl_str_c(rows[i].word));
        for (size_t k = 0; k < sizeof names / sizeof *names; k++)
            sl_suggest_offer(&near, names[k]);
        if (rows[i].best)
            CHECK(near.best && strcmp(near.best, rows[i].best) == 0);
        else
            CHECK(near.best == NULL);
    }
}

SL_TEST(options_help)
{
    demo_options o;
    char *args[2], special;
    size_t count;
    sl_buf text;
    sl_buf_init(&text, 10000);
    char *argv[] = {"--help", NULL};
    REQUIRE(parse(argv, &o, args, &count, &special, &text) == 0);
    CHECK_EQ(special, 'h');
    sl_command_help(&demo, &text);
    CHECK(sl_str_find(sl_buf_str(&text), SL_STR("Usage: sightline demo [options] FILE")) != SL_NPOS);
    CHECK(sl_str_find(sl_buf_str(&text), SL_STR("-n, --requests N")) != SL_NPOS);
    CHECK(sl_str_find(sl_buf_str(&text), SL_STR("(default 30)")) != SL_NPOS);
    CHECK(sl_str_find(sl_buf_str(&text), SL_STR("How many. (default 10; or DEMO_REQUESTS)")) != SL_NPOS);
    CHECK(sl_str_find(sl_buf_str(&text), SL_STR("-V, --version")) != SL_NPOS);
    CHECK(sl_str_ends(sl_buf_str(&text), SL_STR("Examples:\n  sightline demo x\n")));
    sl_buf_done(&text);
}
