/* Option parsing and help, over a command made for the test. */
#include <stdlib.h>

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
    {"requests", 'n', SL_OPT_U64, OPT(requests), "N", "How many.", "10", NULL},
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
    } cases[] = {{{"--nope", NULL}, "--nope: no such option"},
                 {{"-x", NULL}, "-x: no such option"},
                 {{"--url", NULL}, "--url: needs an argument URL"},
                 {{"--requests", "many", NULL}, "--requests: \"many\" is not usable; give a whole number"},
                 {{"--rate=fast", NULL}, "--rate=fast: \"fast\" is not usable; give a number"},
                 {{"a", "b", NULL}, "b: unexpected argument"}};
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
    CHECK(sl_str_ends(sl_buf_str(&text), SL_STR("Examples:\n  sightline demo x\n")));
    sl_buf_done(&text);
}
