/*
 * Commands and their options, declared as tables: parsing, --help, the man pages, the completions and the reference
 * all read the same rows.
 */
#ifndef SL_CLI_COMMAND_H
#define SL_CLI_COMMAND_H

#include "src/base/buf.h"

typedef enum sl_option_type {
    SL_OPT_FLAG,   /* bool: present or not */
    SL_OPT_STR,    /* sl_str of an argument */
    SL_OPT_U64,    /* uint64_t, decimal */
    SL_OPT_DOUBLE, /* double */
    SL_OPT_MS,     /* uint64_t milliseconds from a number of seconds, or with ms, s, m */
    SL_OPT_LIST    /* sl_str_list: may be given several times */
} sl_option_type;

#define SL_MAX_LIST 64

typedef struct sl_str_list {
    sl_str items[SL_MAX_LIST];
    size_t count;
} sl_str_list;

typedef struct sl_option {
    const char *name; /* without the dashes */
    char letter;      /* short form; 0: none */
    sl_option_type type;
    size_t offset;        /* of the member in the command's options struct */
    const char *arg;      /* name of the argument in --help; NULL for flags */
    const char *help;     /* one sentence */
    const char *fallback; /* default, for --help and as the initial value; NULL: zero */
    const char *env;      /* environment variable that gives the value when the option is absent; NULL: none */
} sl_option;

#define SL_ARGS_COMMAND SIZE_MAX

typedef struct sl_command {
    const char *name;
    const char *summary;            /* one line for the list of commands */
    const char *usage;              /* behind "sightline NAME " */
    const char *text;               /* a paragraph */
    const char *examples;           /* lines, shown at the end */
    const sl_option *const *tables; /* NULL-terminated list of tables, each ended by a row without a name */
    size_t options_size;            /* of the options struct */
    size_t max_args;                /* positional arguments; SL_ARGS_COMMAND: any, and options end with the first */
    /*
     * Runs it. `options` is the filled struct; `args` are the positional arguments. Returns the exit status.
     */
    int (*run)(const struct sl_command *command, void *options, char **args, size_t arg_count);
} sl_command;

/* All commands, ended by NULL. */
extern const sl_command *const sl_commands[];
/* The command of a name; NULL when there is none. */
const sl_command *sl_command_find(const char *name);

/* Exit statuses of every command. */
enum { SL_EXIT_OK = 0, SL_EXIT_FAILED = 1, SL_EXIT_USAGE = 2 };

/* Parses and runs; returns the exit status. */
int sl_command_main(int argc, char **argv);

/*
 * Parses the arguments of a command into `options` (zeroed before): defaults, then arguments, then the environment of
 * options that were not among them. Options may stand before and after positional arguments; "--" ends them; names are
 * whole, not abbreviated. Effect on failure: `error` holds the message. SL_EINVAL.
 * With --help or --version among them `*ret_special` is 'h' or 'V', and the environment is not looked at.
 */
int sl_options_parse(const sl_command *command, int argc, char **argv, void *options, char **args,
                     size_t *ret_arg_count, char *ret_special, sl_buf *error);

/* True when the option was given on the command line or by its environment variable (not the default). */
bool sl_option_given(const sl_command *command, const char *name);
/* What gave the option's value, for messages: "--workers", or its variable's name. Static. */
const char *sl_option_source(const sl_command *command, const char *name);

/* The one-screen help of a command, or of the program (NULL). */
void sl_command_help(const sl_command *command, sl_buf *out);

/* Prints `sightline: MESSAGE` to standard error; returns `status`. Messages read "what: why; remedy". */
int sl_fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Writes a whole output. Returns an exit status; a failure is said, but for a reader that has gone. */
int sl_print(const sl_buf *text);
/* True for text and json, what --format takes as a rule; else it says so on standard error. */
bool sl_format_is_known(sl_str format);

/* Colours for a stream: a terminal, NO_COLOR empty or unset, TERM not dumb. */
bool sl_use_colour(int fd);
/* Whether SIGPIPE was ignored when this program started; programs that it starts get it so again. */
extern bool sl_sigpipe_was_ignored;
/* Allows this process as many descriptors as it may have. */
void sl_raise_descriptors(void);

#endif
