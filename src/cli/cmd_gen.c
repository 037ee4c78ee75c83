/* `sightline gen`: files made from the program's own tables. */
#include <errno.h>
#include <stdio.h>

#include "src/base/assert.h"
#include "src/cli/commands.h"
#include "src/cli/gen.h"
#include "src/llm/gguf_tiny.h"

typedef struct gen_command_options {
    uint64_t seed;
    sl_str dir;
} gen_command_options;

static const sl_option options[] = {{"seed", 0, SL_OPT_U64, offsetof(gen_command_options, seed), "N",
                                     "gguf: seed of the weights: the same seed, the same bytes.", "1", NULL},
                                    {"dir", 'd', SL_OPT_STR, offsetof(gen_command_options, dir), "DIR",
                                     "Write each file under its own name into this folder (absent: print).", NULL,
                                     NULL},
                                    {NULL, 0, SL_OPT_FLAG, 0, NULL, NULL, NULL, NULL}};
static const sl_option *const tables[] = {options, NULL};

#define MAX_OUTPUT (4u << 20)
#define MAX_PATH_BYTES 4096
#define ALL ((size_t)-1)

static int gen_gguf(const char *path, uint64_t seed)
{
    errno = 0;
    int error = sl_gguf_tiny_write(path, seed);
    if (error)
        return sl_fail(SL_EXIT_FAILED, "%s: cannot be written: %s; check the folder and its permissions", path,
                       error == SL_EIO && errno ? strerror(errno) : sl_strerror(error));
    return SL_EXIT_OK;
}

/* ---- texts ---- */

static int cannot_make(int error)
{
    return sl_fail(SL_EXIT_FAILED, "gen: cannot be made: %s; is there memory?", sl_strerror(error));
}

static int write_file(const char *path, sl_str text)
{
    SL_ASSERT(path);
    FILE *out = fopen(path, "we");
    bool good = out && fwrite(text.ptr, 1, text.len, out) == text.len;
    good = out && fclose(out) == 0 && good;
    if (!good)
        return sl_fail(SL_EXIT_FAILED, "%s: cannot be written: %s; check the folder and its permissions", path,
                       strerror(errno));
    return SL_EXIT_OK;
}

static int write_item(const sl_gen_kind *kind, size_t index, sl_str dir)
{
    SL_ASSERT(kind && index < kind->count());
    char path[MAX_PATH_BYTES];
    int len = snprintf(path, sizeof path, "%.*s/%s", (int)dir.len, dir.ptr, kind->file(index));
    if (len < 0 || (size_t)len >= sizeof path)
        return sl_fail(SL_EXIT_USAGE, "--dir: too long; give a shorter one");
    sl_buf text;
    sl_buf_init(&text, MAX_OUTPUT);
    int error = kind->print(index, &text);
    int status = error ? cannot_make(error) : write_file(path, sl_buf_str(&text));
    sl_buf_done(&text);
    return status;
}

static int write_items(const sl_gen_kind *kind, size_t index, sl_str dir)
{
    int status = SL_EXIT_OK;
    for (size_t i = 0; i < kind->count() && status == SL_EXIT_OK; i++) {
        if (index == ALL || index == i)
            status = write_item(kind, i, dir);
    }
    return status;
}

static int print_items(const sl_gen_kind *kind, size_t index)
{
    SL_ASSERT(kind);
    sl_buf text;
    sl_buf_init(&text, MAX_OUTPUT);
    int error = index == ALL ? kind->print_all(&text) : kind->print(index, &text);
    int status = error ? cannot_make(error) : sl_print(&text);
    sl_buf_done(&text);
    return status;
}

static int gen_text(const sl_gen_kind *kind, const char *name, sl_str dir)
{
    size_t index = ALL;
    sl_buf known;
    sl_buf_init(&known, 1024);
    for (size_t i = 0; i < kind->count(); i++) {
        if (name && strcmp(name, kind->item(i)) == 0)
            index = i;
        (void)sl_buf_printf(&known, "%s%s", i ? ", " : "", kind->item(i));
    }
    int status = SL_EXIT_OK;
    if (name && index == ALL)
        status = sl_fail(SL_EXIT_USAGE, "gen %s: \"%s\" is not known; it can make: %.*s", kind->name, name,
                         (int)known.len, known.data);
    sl_buf_done(&known);
    if (status != SL_EXIT_OK)
        return status;
    return dir.len ? write_items(kind, index, dir) : print_items(kind, index);
}

static int run_gen(const sl_command *command, void *given, char **args, size_t arg_count)
{
    SL_ASSERT(args || !arg_count);
    (void)command;
    const gen_command_options *o = given;
    if (arg_count < 1)
        return sl_fail(SL_EXIT_USAGE, "gen: what is to be made is missing; see `sightline gen --help`");
    for (size_t i = 0; sl_gen_kinds[i]; i++) {
        if (strcmp(args[0], sl_gen_kinds[i]->name) == 0)
            return gen_text(sl_gen_kinds[i], arg_count > 1 ? args[1] : NULL, o->dir);
    }
    if (strcmp(args[0], "gguf") != 0)
        return sl_fail(SL_EXIT_USAGE,
                       "gen: \"%s\" is not known; it can make: prometheus-rules, dashboards, kubernetes, compose, gguf",
                       args[0]);
    if (arg_count < 2)
        return sl_fail(SL_EXIT_USAGE, "gen gguf: the file is missing; give `sightline gen gguf FILE`");
    return gen_gguf(args[1], o->seed);
}

const sl_command sl_cmd_gen = {
    "gen",
    "make alert rules, dashboards, manifests, a tiny test model",
    "prometheus-rules|dashboards|kubernetes|compose [NAME] | gguf FILE [options]",
    "Prints, from the tables of metrics that the program itself runs on: Prometheus alert rules (s0, s1, s2, s3), "
    "Grafana dashboards (llama_deploy, workflow_overview, llm_provider, llamastack, llama_cpp), Kubernetes manifests "
    "(llm-orchestrator, llamastack) and the files for llama.cpp with Jaeger, Prometheus and Grafana under Docker "
    "Compose "
    "(compose, dockerfile, dockerignore, prometheus, datasources, dashboards); all of a kind without NAME. gguf: "
    "writes a llama "
    "model of half a megabyte with "
    "random weights, so that a genuine llama.cpp server can be run without a download. It makes English words without "
    "sense and never ends by itself.",
    "  sightline gen prometheus-rules s1 > llm_orchestrator.rules.yml\n"
    "  sightline gen dashboards --dir /var/lib/grafana/dashboards\n"
    "  sightline gen kubernetes llamastack | kubectl apply -f -\n"
    "  sightline gen gguf /tmp/tiny.gguf\n",
    tables,
    sizeof(gen_command_options),
    2,
    run_gen};
