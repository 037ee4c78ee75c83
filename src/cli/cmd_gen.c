/* `sightline gen`: files made from the program's own tables. */
#include <errno.h>
#include <stdio.h>

#include "src/base/assert.h"
#include "src/cli/commands.h"
#include "src/llm/gguf_tiny.h"

typedef struct gen_command_options {
    uint64_t seed;
} gen_command_options;

static const sl_option options[] = {{"seed", 0, SL_OPT_U64, offsetof(gen_command_options, seed), "N",
                                     "Seed of the weights: the same seed, the same bytes.", "1", NULL},
                                    {NULL, 0, SL_OPT_FLAG, 0, NULL, NULL, NULL, NULL}};
static const sl_option *const tables[] = {options, NULL};

static int gen_gguf(const char *path, uint64_t seed)
{
    errno = 0;
    int error = sl_gguf_tiny_write(path, seed);
    if (error)
        return sl_fail(SL_EXIT_FAILED, "%s: cannot be written: %s; check the folder and its permissions", path,
                       error == SL_EIO && errno ? strerror(errno) : sl_strerror(error));
    return SL_EXIT_OK;
}

static int run_gen(const sl_command *command, void *given, char **args, size_t arg_count)
{
    SL_ASSERT(args || !arg_count);
    (void)command;
    const gen_command_options *o = given;
    if (arg_count < 1)
        return sl_fail(SL_EXIT_USAGE, "gen: what is to be made is missing; see `sightline gen --help`");
    if (strcmp(args[0], "gguf") != 0)
        return sl_fail(SL_EXIT_USAGE, "gen: \"%s\" is not known; it can make: gguf", args[0]);
    if (arg_count < 2)
        return sl_fail(SL_EXIT_USAGE, "gen gguf: the file is missing; give `sightline gen gguf FILE`");
    return gen_gguf(args[1], o->seed);
}

const sl_command sl_cmd_gen = {"gen",
                               "make a tiny test model",
                               "gguf FILE [options]",
                               "gguf: writes a llama model of half a megabyte with random weights, so that a genuine "
                               "llama.cpp server can be run without "
                               "a download. It makes English words without sense and never ends by itself.",
                               "  sightline gen gguf /tmp/tiny.gguf\n"
                               "  llama-server -m /tmp/tiny.gguf --port 8081\n",
                               tables,
                               sizeof(gen_command_options),
                               2,
                               run_gen};
