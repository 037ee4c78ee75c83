/* Parsing of options by table. */
#include <stdio.h>
#include <stdlib.h>

#include "src/base/assert.h"
#include "src/base/suggest.h"
#include "src/cli/command.h"

#define MAX_GIVEN 128

/* The options given to the running command, and by what: one command runs in a process. */
static struct {
    const char *name;
    const char *env; /* NULL: the command line */
} given[MAX_GIVEN];
static size_t given_count;

static size_t find_given(const char *name)
{
    SL_ASSERT(name);
    size_t i = 0;
    while (i < given_count && strcmp(given[i].name, name) != 0)
        i++;
    return i;
}

static void note_given(const char *name, const char *env)
{
    size_t i = find_given(name);
    if (i == MAX_GIVEN)
        return;
    given[i].name = name;
    given[i].env = env;
    given_count += i == given_count;
}

bool sl_option_given(const sl_command *command, const char *name)
{
    (void)command;
    return find_given(name) < given_count;
}

static const sl_option *find_option(const sl_command *command, sl_str name, char letter)
{
    SL_ASSERT(command);
    for (const sl_option *const *table = command->tables; *table; table++) {
        for (const sl_option *o = *table; o->name; o++) {
            if (letter ? o->letter == letter : sl_str_eq_c(name, o->name))
                return o;
        }
    }
    return NULL;
}

/* "250ms", "2s", "1.5m" or plain seconds. */
static bool parse_ms(sl_str text, uint64_t *ret_ms)
{
    SL_ASSERT(ret_ms);
    double factor = 1000, value;
    if (sl_str_ends(text, SL_STR("ms"))) {
        factor = 1;
        text.len -= 2;
    } else if (sl_str_ends(text, SL_STR("s"))) {
        text.len -= 1;
    } else if (sl_str_ends(text, SL_STR("m"))) {
        factor = 60000;
        text.len -= 1;
    }
    if (sl_str_to_double(text, &value) != 0 || value < 0 || value * factor > 1e15)
        return false;
    *ret_ms = (uint64_t)(value * factor + 0.5);
    return true;
}

/* Stores a value; the text of what was expected instead, or NULL. */
static const char *store(const sl_option *option, void *options, sl_str text)
{
    SL_ASSERT(option);
    void *at = (char *)options + option->offset;
    sl_str_list *list = at;
    switch (option->type) {
    case SL_OPT_FLAG:
        if (sl_str_ieq(text, SL_STR("true")) || sl_str_eq_c(text, "1"))
            *(bool *)at = true;
        else if (sl_str_ieq(text, SL_STR("false")) || sl_str_eq_c(text, "0"))
            *(bool *)at = false;
        else
            return "true or false";
        return NULL;
    case SL_OPT_STR:
        *(sl_str *)at = text;
        return NULL;
    case SL_OPT_U64:
        return sl_str_to_u64(text, at) == 0 ? NULL : "a whole number";
    case SL_OPT_DOUBLE:
        return sl_str_to_double(text, at) == 0 ? NULL : "a number";
    case SL_OPT_MS:
        return parse_ms(text, at) ? NULL : "a duration in seconds, or such as 250ms, 2s, 1m";
    case SL_OPT_LIST:
        if (list->count == SL_MAX_LIST)
            return "at most 64 of them";
        list->items[list->count++] = text;
        return NULL;
    }
    return "another type";
}

static int set_option(const sl_option *option, void *options, sl_str text, const char *source, sl_buf *error)
{
    SL_ASSERT(text.ptr || !text.len);
    const char *expected = store(option, options, text);
    if (!expected)
        return 0;
    (void)sl_buf_printf(error, "%s: \"%.*s\" is not usable; give %s", source, (int)text.len, text.ptr, expected);
    return SL_EINVAL;
}

static void set_defaults(const sl_command *command, void *options)
{
    SL_ASSERT(command);
    for (const sl_option *const *table = command->tables; *table; table++) {
        for (const sl_option *o = *table; o->name; o++) {
            if (o->fallback && *o->fallback && o->type != SL_OPT_LIST)
                (void)store(o, options, sl_str_c(o->fallback));
        }
    }
}

/* Variables stand for options that were not given; what is not needed may be wrong. */
static int read_environment(const sl_command *command, void *options, sl_buf *error)
{
    SL_ASSERT(command);
    for (const sl_option *const *table = command->tables; *table; table++) {
        for (const sl_option *o = *table; o->name; o++) {
            const char *value = o->env && !sl_option_given(command, o->name) ? getenv(o->env) : NULL;
            if (!value || !*value)
                continue;
            if (set_option(o, options, sl_str_c(value), o->env, error) != 0)
                return SL_EINVAL;
            note_given(o->name, o->env);
        }
    }
    return 0;
}

const char *sl_option_source(const sl_command *command, const char *name)
{
    static char text[64];
    size_t i = find_given(name);
    (void)command;
    if (i < given_count && given[i].env)
        return given[i].env;
    snprintf(text, sizeof text, "--%s", name);
    return text;
}

static int no_such_option(const sl_command *command, const char *word, sl_str name, bool is_long, sl_buf *error)
{
    sl_suggestion near;
    sl_suggest_init(&near, name);
    for (const sl_option *const *table = command->tables; is_long && *table; table++) {
        for (const sl_option *o = *table; o->name; o++)
            sl_suggest_offer(&near, o->name);
    }
    (void)sl_buf_printf(error, "%s: no such option", word);
    if (near.best)
        (void)sl_buf_printf(error, " (did you mean --%s?)", near.best);
    return SL_EINVAL;
}

/* One option at argv[*i]; moves *i past its argument. */
static int parse_option(const sl_command *command, int argc, char **argv, int *i, void *options, char *ret_special,
                        sl_buf *error)
{
    SL_ASSERT(argv && i && ret_special);
    sl_str word = sl_str_c(argv[*i]);
    bool is_long = sl_str_starts(word, SL_STR("--"));
    sl_str name = sl_str_sub(word, is_long ? 2 : 1, word.len);
    size_t equals = is_long ? sl_str_chr(name, '=') : SL_NPOS;
    sl_str value = equals == SL_NPOS ? sl_str_of(NULL, 0) : sl_str_sub(name, equals + 1, name.len);
    if (equals != SL_NPOS)
        name.len = equals;
    char letter = is_long ? '\0' : word.ptr[1];
    if (sl_str_eq_c(name, "help") || letter == 'h' || sl_str_eq_c(name, "version") || letter == 'V') {
        *ret_special = sl_str_eq_c(name, "help") || letter == 'h' ? 'h' : 'V';
        return 0;
    }
    const sl_option *option = find_option(command, name, letter);
    if (!option || (!is_long && word.len > 2 && option->type == SL_OPT_FLAG))
        return no_such_option(command, argv[*i], name, is_long, error);
    note_given(option->name, NULL);
    char source[64];
    snprintf(source, sizeof source, "--%s", option->name);
    if (option->type == SL_OPT_FLAG)
        return set_option(option, options, value.ptr ? value : SL_STR("true"), source, error);
    if (!is_long && word.len > 2)
        value = sl_str_sub(word, 2, word.len);
    if (!value.ptr) {
        if (*i + 1 >= argc) {
            (void)sl_buf_printf(error, "%s: a value is missing; give %s %s", source, source, option->arg);
            return SL_EINVAL;
        }
        value = sl_str_c(argv[++*i]);
    }
    return set_option(option, options, value, source, error);
}

int sl_options_parse(const sl_command *command, int argc, char **argv, void *options, char **args,
                     size_t *ret_arg_count, char *ret_special, sl_buf *error)
{
    SL_ASSERT(ret_arg_count && ret_special);
    size_t count = 0;
    bool ended = false;
    char special = 0;
    given_count = 0;
    int fault = 0;
    set_defaults(command, options);
    for (int i = 0; i < argc && !fault && !special; i++) {
        if (!ended && strcmp(argv[i], "--") == 0) {
            ended = true;
        } else if (!ended && argv[i][0] == '-' && argv[i][1]) {
            fault = parse_option(command, argc, argv, &i, options, &special, error);
        } else if (count < command->max_args) {
            args[count++] = argv[i];
            ended |= command->max_args == SL_ARGS_COMMAND;
        } else {
            (void)sl_buf_printf(error, "%s: one argument too many", argv[i]);
            fault = SL_EINVAL;
        }
    }
    if (!fault && !special)
        fault = read_environment(command, options, error);
    if (fault)
        return fault;
    *ret_arg_count = count;
    *ret_special = special;
    return 0;
}
