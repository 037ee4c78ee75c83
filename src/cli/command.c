/* Dispatch of commands, help texts, messages. */
#include "src/cli/command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/suggest.h"

#define HELP_COLUMN 34
#define HELP_WIDTH 100

bool sl_sigpipe_was_ignored;

int sl_fail(int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("sightline: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return status;
}

bool sl_format_is_known(sl_str format)
{
    bool known = sl_str_eq_c(format, "text") || sl_str_eq_c(format, "json");
    if (!known)
        (void)sl_fail(0, "--format: \"%.*s\" is not known; give text or json", (int)format.len, format.ptr);
    return known;
}

bool sl_use_colour(int fd)
{
    const char *off = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    return isatty(fd) && !(off && *off) && !(term && strcmp(term, "dumb") == 0);
}

void sl_raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* Appends text wrapped at HELP_WIDTH, continuation lines indented. */
static void put_wrapped(sl_buf *out, const char *text, size_t indent, size_t at)
{
    sl_str rest = sl_str_c(text), word;
    bool first = true;
    while (sl_str_split(&rest, ' ', &word)) {
        if (!first && at + 1 + word.len > HELP_WIDTH) {
            (void)sl_buf_printf(out, "\n%*s", (int)indent, "");
            at = indent;
        } else if (!first) {
            (void)sl_buf_put_char(out, ' ');
            at++;
        }
        (void)sl_buf_put_str(out, word);
        at += word.len;
        first = false;
    }
    (void)sl_buf_put_char(out, '\n');
}

static void put_option(sl_buf *out, const sl_option *option)
{
    SL_ASSERT(option);
    char left[128];
    char letter[8] = "    ";
    if (option->letter)
        snprintf(letter, sizeof letter, "-%c, ", option->letter);
    int len = snprintf(left, sizeof left, "  %s--%s%s%s", letter, option->name, option->arg ? " " : "",
                       option->arg ? option->arg : "");
    (void)sl_buf_put_c(out, left);
    if (len >= HELP_COLUMN - 1)
        (void)sl_buf_printf(out, "\n%*s", HELP_COLUMN, "");
    else
        (void)sl_buf_printf(out, "%*s", HELP_COLUMN - len, "");
    char help[512];
    const char *fallback = option->fallback && *option->fallback ? option->fallback : NULL;
    snprintf(help, sizeof help, "%s%s%s%s%s%s", option->help, fallback ? " (default " : "", fallback ? fallback : "",
             fallback && option->env ? "; or "
             : option->env           ? " (or "
                                     : "",
             option->env ? option->env : "", fallback || option->env ? ")" : "");
    put_wrapped(out, help, HELP_COLUMN, HELP_COLUMN);
}

static void program_help(sl_buf *out)
{
    (void)sl_buf_put_c(
        out, "Sightline: one line of sight through an LLM stack.\n\nUsage: sightline COMMAND [options]\n\nCommands:\n");
    for (const sl_command *const *c = sl_commands; *c; c++)
        (void)sl_buf_printf(out, "  %-16s  %s\n", (*c)->name, (*c)->summary);
    (void)sl_buf_put_c(
        out, "\n`sightline COMMAND --help` shows a command's options and examples.\n\nExamples:\n"
             "  sightline up                          gateway, metrics, health and traces, no configuration needed\n"
             "  sightline gateway -c config.yaml      the gateway with a LiteLLM configuration\n"
             "  sightline traces                      what was asked, and where the time went\n");
}

void sl_command_help(const sl_command *command, sl_buf *out)
{
    if (!command) {
        program_help(out);
        return;
    }
    (void)sl_buf_printf(out, "Usage: sightline %s %s\n\n", command->name, command->usage);
    put_wrapped(out, command->text, 0, 0);
    (void)sl_buf_put_c(out, "\nOptions:\n");
    for (const sl_option *const *table = command->tables; *table; table++) {
        for (const sl_option *option = *table; option->name; option++)
            put_option(out, option);
    }
    static const sl_option common[] = {{"help", 'h', SL_OPT_FLAG, 0, NULL, "Show this text.", NULL, NULL},
                                       {"version", 'V', SL_OPT_FLAG, 0, NULL, "Show the version.", NULL, NULL}};
    put_option(out, &common[0]);
    put_option(out, &common[1]);
    if (command->examples)
        (void)sl_buf_printf(out, "\nExamples:\n%s", command->examples);
}

const sl_command *sl_command_find(const char *name)
{
    SL_ASSERT(name);
    for (const sl_command *const *c = sl_commands; *c; c++) {
        if (strcmp((*c)->name, name) == 0)
            return *c;
    }
    return NULL;
}

static int written(FILE *stream)
{
    if (fflush(stream) == 0 && !ferror(stream))
        return SL_EXIT_OK;
    if (errno != EPIPE)
        (void)sl_fail(0, "standard output: cannot be written: %s; make room, or write elsewhere", strerror(errno));
    return SL_EXIT_FAILED;
}

int sl_print(const sl_buf *text)
{
    SL_ASSERT(text);
    (void)fwrite(text->data, 1, text->len, stdout);
    return written(stdout);
}

static int print_help(const sl_command *command, FILE *stream)
{
    sl_buf text;
    sl_buf_init(&text, 1u << 20);
    sl_command_help(command, &text);
    fwrite(text.data, 1, text.len, stream);
    sl_buf_done(&text);
    return written(stream);
}

static int print_version(void)
{
    printf("sightline %s\n", sl_version());
    return written(stdout);
}

static int no_such_command(const char *name)
{
    sl_suggestion near;
    sl_suggest_init(&near, sl_str_c(name));
    for (const sl_command *const *c = sl_commands; *c; c++)
        sl_suggest_offer(&near, (*c)->name);
    if (near.best)
        return sl_fail(SL_EXIT_USAGE, "%s: no such command; did you mean `sightline %s`?", name, near.best);
    return sl_fail(SL_EXIT_USAGE, "%s: no such command; see `sightline --help`", name);
}

/* ---- commands of two words ("flow server") ---- */

static const sl_command *find_two(const char *first, const char *second)
{
    SL_ASSERT(first);
    char name[64];
    if (!second || (size_t)snprintf(name, sizeof name, "%s %s", first, second) >= sizeof name)
        return NULL;
    return sl_command_find(name);
}

static bool is_of_group(const sl_command *command, const char *group)
{
    size_t len = strlen(group);
    return strncmp(command->name, group, len) == 0 && command->name[len] == ' ';
}

static bool is_group(const char *name)
{
    SL_ASSERT(name);
    for (const sl_command *const *c = sl_commands; *c; c++) {
        if (is_of_group(*c, name))
            return true;
    }
    return false;
}

/* What there is of a group; as examples, the first of each of its commands. */
static void group_help(const char *group, sl_buf *out)
{
    SL_ASSERT(group && out);
    (void)sl_buf_printf(out, "Usage: sightline %s COMMAND [options]\n\nCommands:\n", group);
    for (const sl_command *const *c = sl_commands; *c; c++) {
        if (is_of_group(*c, group))
            (void)sl_buf_printf(out, "  sightline %-16s  %s\n", (*c)->name, (*c)->summary);
    }
    (void)sl_buf_printf(out, "\n`sightline %s COMMAND --help` shows a command's options.\n\nExamples:\n", group);
    for (const sl_command *const *c = sl_commands; *c; c++) {
        if (is_of_group(*c, group))
            (void)sl_buf_printf(out, "%.*s\n", (int)strcspn((*c)->examples, "\n"), (*c)->examples);
    }
}

static int print_group(const char *group, FILE *stream)
{
    sl_buf text;
    sl_buf_init(&text, 1u << 20);
    group_help(group, &text);
    fwrite(text.data, 1, text.len, stream);
    sl_buf_done(&text);
    return written(stream);
}

/* `sightline flow` and a second word that is no command. */
static int run_group(const char *group, const char *word)
{
    char name[64];
    if (!word) {
        (void)print_group(group, stderr);
        return SL_EXIT_USAGE;
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        return print_group(group, stdout);
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0)
        return print_version();
    (void)snprintf(name, sizeof name, "%s %s", group, word);
    sl_suggestion near;
    sl_suggest_init(&near, sl_str_c(name));
    for (const sl_command *const *c = sl_commands; *c; c++) {
        if (is_of_group(*c, group))
            sl_suggest_offer(&near, (*c)->name);
    }
    if (near.best)
        return sl_fail(SL_EXIT_USAGE, "%s %s: no such command; did you mean `sightline %s`?", group, word, near.best);
    return sl_fail(SL_EXIT_USAGE, "%s %s: no such command; see `sightline %s --help`", group, word, group);
}

static int run_command(const sl_command *command, int argc, char **argv)
{
    SL_ASSERT(command);
    void *options = calloc(1, command->options_size ? command->options_size : 1);
    char **args = calloc((size_t)argc + 1, sizeof *args);
    size_t arg_count = 0;
    char special = 0;
    sl_buf error;
    sl_buf_init(&error, 4096);
    int status = SL_EXIT_FAILED;
    if (!options || !args)
        status = sl_fail(SL_EXIT_FAILED, "%s: out of memory", command->name);
    else if (sl_options_parse(command, argc, argv, options, args, &arg_count, &special, &error) != 0)
        status = sl_fail(SL_EXIT_USAGE, "%.*s; see `sightline %s --help`", (int)error.len, error.data, command->name);
    else if (special == 'h')
        status = print_help(command, stdout);
    else if (special == 'V')
        status = print_version();
    else
        status = command->run(command, options, args, arg_count);
    if (status == SL_EXIT_OK)
        status = written(stdout);
    sl_buf_done(&error);
    free(args);
    free(options);
    return status;
}

static int help_about(const char *name, const char *second)
{
    const sl_command *command = name ? sl_command_find(name) : NULL;
    if (name && !command && is_group(name)) {
        command = find_two(name, second);
        if (second && !command)
            return run_group(name, second);
        return command ? print_help(command, stdout) : print_group(name, stdout);
    }
    return name && !command ? no_such_command(name) : print_help(command, stdout);
}

int sl_command_main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    if (!name) {
        (void)print_help(NULL, stderr);
        return SL_EXIT_USAGE;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0)
        return help_about(argc > 2 ? argv[2] : NULL, argc > 3 ? argv[3] : NULL);
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0 || strcmp(name, "version") == 0)
        return print_version();
    const sl_command *command = sl_command_find(name);
    if (command)
        return run_command(command, argc - 2, argv + 2);
    command = find_two(name, argc > 2 ? argv[2] : NULL);
    if (command)
        return run_command(command, argc - 3, argv + 3);
    return is_group(name) ? run_group(name, argc > 2 ? argv[2] : NULL) : no_such_command(name);
}
