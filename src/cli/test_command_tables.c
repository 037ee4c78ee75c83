/* The tables of every command: rows that can all be given, that say what they are, and whose defaults are valid. */
#include <stdio.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/cli/command.h"
#include "tests/harness/sl_test.h"

/* Calls `visit` with every option of every command. */
static void each_option(void (*visit)(const sl_command *command, const sl_option *option))
{
    for (size_t c = 0; sl_commands[c]; c++) {
        for (const sl_option *const *table = sl_commands[c]->tables; *table; table++) {
            for (const sl_option *o = *table; o->name; o++)
                visit(sl_commands[c], o);
        }
    }
}

static size_t size_of(sl_option_type type)
{
    switch (type) {
    case SL_OPT_FLAG:
        return sizeof(bool);
    case SL_OPT_STR:
        return sizeof(sl_str);
    case SL_OPT_LIST:
        return sizeof(sl_str_list);
    case SL_OPT_DOUBLE:
        return sizeof(double);
    default:
        return sizeof(uint64_t);
    }
}

/* ---- rows ---- */

static bool is_plain_name(const char *name)
{
    for (const char *c = name; *c; c++) {
        bool letter = *c >= 'a' && *c <= 'z', digit = *c >= '0' && *c <= '9';
        if (!letter && !((digit || *c == '-') && c > name))
            return false;
    }
    return name[0] && name[strlen(name) - 1] != '-';
}

static void check_row(const sl_command *command, const sl_option *o)
{
    bool good = is_plain_name(o->name);
    good = good && strcmp(o->name, "help") != 0 && strcmp(o->name, "version") != 0;
    good = good && o->letter != 'h' && o->letter != 'V' && o->letter != '-';
    good = good && (o->type == SL_OPT_FLAG) == (o->arg == NULL);
    good = good && o->help && strlen(o->help) > 5 && o->help[strlen(o->help) - 1] == '.';
    good = good && o->offset + size_of(o->type) <= command->options_size;
    good = good && (!o->env || strncmp(o->env, "SIGHTLINE_", 10) == 0 || strncmp(o->env, "OTEL_", 5) == 0);
    good = good && !(o->type == SL_OPT_LIST && (o->fallback || o->env));
    if (!good)
        sl_test_failed(__FILE__, __LINE__, "%s --%s", command->name, o->name);
}

SL_TEST(every_row_is_sound)
{
    each_option(check_row);
}

static void check_alone(const sl_command *command, const sl_option *o)
{
    for (const sl_option *const *table = command->tables; *table; table++) {
        for (const sl_option *other = *table; other->name; other++) {
            if (other == o)
                continue;
            bool apart = strcmp(other->name, o->name) != 0 && (!o->letter || other->letter != o->letter);
            apart = apart && (!o->env || !other->env || strcmp(o->env, other->env) != 0);
            bool alias = other->offset == o->offset && other->type == o->type && !(other->fallback && o->fallback);
            apart = apart && (alias || other->offset + size_of(other->type) <= o->offset ||
                              o->offset + size_of(o->type) <= other->offset);
            if (!apart)
                sl_test_failed(__FILE__, __LINE__, "%s --%s and --%s", command->name, o->name, other->name);
        }
    }
}

/* No two options of a command have a name, a letter or a variable in common; a member only as names of one thing. */
SL_TEST(no_two_rows_meet)
{
    each_option(check_alone);
}

/* ---- commands ---- */

SL_TEST(every_command_is_sound_and_found)
{
    CHECK(sl_commands[0] != NULL);
    for (size_t c = 0; sl_commands[c]; c++) {
        const sl_command *command = sl_commands[c];
        CHECK(command->summary[0] && command->text[0] && command->run);
        CHECK(strchr(command->summary, '\n') == NULL);
        CHECK(sl_command_find(command->name) == command);
        for (size_t d = 0; d < c; d++)
            CHECK(strcmp(sl_commands[d]->name, command->name) != 0);
        /* Examples show this command, each on a line of its own. */
        sl_str rest = sl_str_c(command->examples), line;
        while (rest.len && sl_str_split(&rest, '\n', &line)) {
            if (line.len && sl_str_find(line, SL_STR("sightline")) == SL_NPOS && line.ptr[0] != ' ')
                sl_test_failed(__FILE__, __LINE__, "%s: %.*s", command->name, (int)line.len, line.ptr);
        }
        CHECK(sl_str_find(sl_str_c(command->examples), sl_str_c(command->name)) != SL_NPOS);
    }
    CHECK(sl_command_find("") == NULL);
    CHECK(sl_command_find("no-such-command") == NULL);
}

/* Help fits the words "one screen wide", names every option, and needs room. */
SL_TEST(help_names_every_option)
{
    for (size_t c = 0; sl_commands[c]; c++) {
        sl_buf out;
        sl_buf_init(&out, 1u << 20);
        sl_command_help(sl_commands[c], &out);
        CHECK_EQ(out.failed, 0);
        sl_str help = sl_buf_str(&out);
        CHECK(sl_str_find(help, sl_str_c(sl_commands[c]->name)) != SL_NPOS);
        for (const sl_option *const *table = sl_commands[c]->tables; *table; table++) {
            for (const sl_option *o = *table; o->name; o++) {
                char name[64];
                (void)snprintf(name, sizeof name, "--%s", o->name);
                if (sl_str_find(help, sl_str_c(name)) == SL_NPOS)
                    sl_test_failed(__FILE__, __LINE__, "%s: %s", sl_commands[c]->name, name);
            }
        }
        sl_buf_done(&out);
    }
}

/* ---- giving them ---- */

typedef struct parsed {
    void *options;
    char *args[8];
    size_t arg_count;
    char special;
    int error;
    char text[512];
} parsed;

static void parse(const sl_command *command, int argc, char **argv, parsed *ret)
{
    sl_buf error;
    sl_buf_init(&error, 4096);
    memset(ret, 0, sizeof *ret);
    ret->options = sl_calloc(1, command->options_size + 1);
    ret->error = sl_options_parse(command, argc, argv, ret->options, ret->args, &ret->arg_count, &ret->special, &error);
    (void)sl_str_to_c(sl_buf_str(&error), ret->text, sizeof ret->text);
    sl_buf_done(&error);
}

static const char *sample_of(sl_option_type type)
{
    switch (type) {
    case SL_OPT_STR:
    case SL_OPT_LIST:
        return "some text";
    case SL_OPT_DOUBLE:
        return "0.25";
    default:
        return "7";
    }
}

/* Whether the member holds what sample_of says. */
static bool holds_sample(const sl_option *o, const void *options)
{
    const void *at = (const char *)options + o->offset;
    uint64_t wanted = o->type == SL_OPT_MS ? 7000 : 7, number;
    double real;
    switch (o->type) {
    case SL_OPT_FLAG:
        return *(const bool *)at;
    case SL_OPT_STR:
        return sl_str_eq(*(const sl_str *)at, SL_STR("some text"));
    case SL_OPT_LIST:
        return ((const sl_str_list *)at)->count == 1 &&
               sl_str_eq(((const sl_str_list *)at)->items[0], SL_STR("some text"));
    case SL_OPT_DOUBLE:
        memcpy(&real, at, sizeof real);
        return real == 0.25;
    default:
        memcpy(&number, at, sizeof number);
        return number == wanted;
    }
}

static void expect_given(const sl_command *command, const sl_option *o, int argc, char **argv, const char *source)
{
    parsed p;
    parse(command, argc, argv, &p);
    if (p.error || !holds_sample(o, p.options) || !sl_option_given(command, o->name) ||
        strcmp(sl_option_source(command, o->name), source) != 0 || p.arg_count)
        sl_test_failed(__FILE__, __LINE__, "%s --%s as \"%s\": %s", command->name, o->name, argc ? argv[0] : "",
                       p.text);
    sl_free(p.options);
}

static void give(const sl_command *command, const sl_option *o)
{
    char whole[128], name[64], letter[4] = {'-', o->letter, 0, 0}, joined[64], value[32];
    (void)snprintf(name, sizeof name, "--%s", o->name);
    (void)snprintf(value, sizeof value, "%s", sample_of(o->type));
    (void)snprintf(whole, sizeof whole, "--%s=%s", o->name, o->type == SL_OPT_FLAG ? "true" : value);
    (void)snprintf(joined, sizeof joined, "-%c%s", o->letter, value);
    bool flag = o->type == SL_OPT_FLAG;
    expect_given(command, o, 1, (char *[]){whole, NULL}, name);
    expect_given(command, o, flag ? 1 : 2, (char *[]){name, value, NULL}, name);
    if (o->letter)
        expect_given(command, o, flag ? 1 : 2, (char *[]){letter, value, NULL}, name);
    if (o->letter && !flag)
        expect_given(command, o, 1, (char *[]){joined, NULL}, name);
    if (o->env) {
        setenv(o->env, flag ? "true" : value, 1);
        expect_given(command, o, 0, (char *[]){NULL}, o->env);
        unsetenv(o->env);
    }
    if (!flag) { /* nothing behind it */
        parsed p;
        parse(command, 1, (char *[]){name, NULL}, &p);
        CHECK_EQ(p.error, SL_EINVAL);
        CHECK(strstr(p.text, name) != NULL);
        sl_free(p.options);
    }
}

static void forget(const sl_command *command, const sl_option *o)
{
    (void)command;
    if (o->env)
        unsetenv(o->env);
}

/* Long with its value in one word and in two, short in one and in two, and by its variable: the same each time. */
SL_TEST(every_option_can_be_given_every_way)
{
    each_option(forget);
    each_option(give);
}

static void check_default(const sl_command *command, const sl_option *o)
{
    if (!o->fallback || !*o->fallback || o->type == SL_OPT_FLAG)
        return;
    char whole[256];
    parsed given, absent;
    (void)snprintf(whole, sizeof whole, "--%s=%s", o->name, o->fallback);
    parse(command, 1, (char *[]){whole, NULL}, &given);
    CHECK_EQ(given.error, 0);
    parse(command, 0, (char *[]){NULL}, &absent);
    CHECK_EQ(absent.error, 0);
    CHECK(!sl_option_given(command, o->name));
    const char *a = (const char *)given.options + o->offset, *b = (const char *)absent.options + o->offset;
    bool same = o->type == SL_OPT_STR ? sl_str_eq(*(const sl_str *)(const void *)a, *(const sl_str *)(const void *)b)
                                      : memcmp(a, b, size_of(o->type)) == 0;
    if (!same)
        sl_test_failed(__FILE__, __LINE__, "%s %s", command->name, whole);
    sl_free(given.options);
    sl_free(absent.options);
}

/* The default that help tells is the value of an option that nobody gave. */
SL_TEST(defaults_are_what_help_says)
{
    each_option(forget);
    each_option(check_default);
}

static void misspell(const sl_command *command, const sl_option *o)
{
    char longer[80];
    parsed p;
    (void)snprintf(longer, sizeof longer, "--%s-x", o->name);
    parse(command, 1, (char *[]){longer, NULL}, &p);
    CHECK_EQ(p.error, SL_EINVAL);
    CHECK(strstr(p.text, "no such option") != NULL);
    sl_free(p.options);
}

/* Names are whole: one with more behind it is none. */
SL_TEST(names_are_whole)
{
    each_option(misspell);
}
