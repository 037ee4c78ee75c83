/* Dispatch of commands, help texts, messages. */
#include "src/cli/command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/mem.h"

#define HELP_COLUMN 34
#define HELP_WIDTH 100

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

bool sl_use_colour(int fd)
{
    const char *off = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    return isatty(fd) && !(off && *off) && !(term && strcmp(term, "dumb") == 0);
}

unsigned sl_terminal_width(int fd, unsigned fallback)
{
    struct winsize size;
    if (isatty(fd) && ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    const char *columns = getenv("COLUMNS");
    uint64_t value;
    if (columns && sl_str_to_u64(sl_str_c(columns), &value) == 0 && value >= 20 && value <= 1000)
        return (unsigned)value;
    return fallback;
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
    bool shown = option->fallback && *option->fallback;
    snprintf(help, sizeof help, "%s%s%s%s", option->help, shown ? " (default " : "", shown ? option->fallback : "",
             shown ? ")" : "");
    put_wrapped(out, help, HELP_COLUMN, HELP_COLUMN);
}

static void program_help(sl_buf *out)
{
    (void)sl_buf_put_c(
        out, "Sightline: one line of sight through an LLM stack.\n\nUsage: sightline COMMAND [options]\n\nCommands:\n");
    for (const sl_command *const *c = sl_commands; *c; c++)
        (void)sl_buf_printf(out, "  %-10s %s\n", (*c)->name, (*c)->summary);
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
    static const sl_option help = {"help", 'h', SL_OPT_FLAG, 0, NULL, "Show this text.", NULL, NULL};
    put_option(out, &help);
    if (command->examples)
        (void)sl_buf_printf(out, "\nExamples:\n%s", command->examples);
}

static const sl_command *find_command(const char *name)
{
    for (const sl_command *const *c = sl_commands; *c; c++) {
        if (strcmp((*c)->name, name) == 0)
            return *c;
    }
    return NULL;
}

static int print_help(const sl_command *command)
{
    sl_buf text;
    sl_buf_init(&text, 1u << 20);
    sl_command_help(command, &text);
    fwrite(text.data, 1, text.len, stdout);
    sl_buf_done(&text);
    return fflush(stdout) == 0 ? SL_EXIT_OK : SL_EXIT_FAILED;
}

static int print_version(void)
{
    printf("sightline %s\n", sl_version());
    return SL_EXIT_OK;
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
        status = print_help(command);
    else if (special == 'V')
        status = print_version();
    else
        status = command->run(command, options, args, arg_count);
    sl_buf_done(&error);
    free(args);
    free(options);
    return status;
}

int sl_command_main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    if (!name) {
        (void)print_help(NULL);
        return SL_EXIT_USAGE;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return print_help(NULL);
    if (strcmp(name, "help") == 0)
        return print_help(argc > 2 ? find_command(argv[2]) : NULL);
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0 || strcmp(name, "version") == 0)
        return print_version();
    const sl_command *command = find_command(name);
    if (!command)
        return sl_fail(SL_EXIT_USAGE, "%s: no such command; see `sightline --help`", name);
    return run_command(command, argc - 2, argv + 2);
}
