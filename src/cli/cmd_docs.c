/* `sightline docs`: the reference. */
#include <stdio.h>
#include <string.h>

#include "src/base/assert.h"
#include "src/cli/commands.h"
#include "src/cli/docs_out.h"

typedef struct docs_command_options {
    sl_str format;
    sl_str section;
} docs_command_options;

#define OPT(member) offsetof(docs_command_options, member)
#define SECTION_WORD(name, title) #name " "
static const sl_option options[] = {
    {"format", 'f', SL_OPT_STR, OPT(format), "FORMAT", "markdown, json, man, bash, zsh or fish.", "markdown", NULL},
    {"section", 's', SL_OPT_STR, OPT(section), "NAME",
     "One section of markdown: " SL_DOCS_SECTION_MAP(SECTION_WORD) "(absent: all).", NULL, NULL},
    {NULL, 0, SL_OPT_FLAG, 0, NULL, NULL, NULL, NULL}};
static const sl_option *const tables[] = {options, NULL};

/* Fills in the text; an exit status. */
static int make(const docs_command_options *o, const char *name, sl_buf *out)
{
    char section[32];
    int error = SL_EINVAL;
    const sl_command *about = name ? sl_command_find(name) : NULL;
    if (name && (!about || !sl_str_eq_c(o->format, "man")))
        return sl_fail(SL_EXIT_USAGE, "docs: %s: %s", name,
                       about ? "a command goes with --format man; add it" : "no such command; see `sightline --help`");
    if (o->section.len && (!sl_str_eq_c(o->format, "markdown") || !sl_str_to_c(o->section, section, sizeof section)))
        return sl_fail(SL_EXIT_USAGE, "docs: --section: goes with --format markdown alone; leave one of them out");
    if (sl_str_eq_c(o->format, "markdown"))
        error = sl_docs_markdown(o->section.len ? section : NULL, out);
    else if (sl_str_eq_c(o->format, "json"))
        error = sl_docs_json(out);
    else if (sl_str_eq_c(o->format, "man"))
        error = sl_docs_man(about, out);
    else if (sl_str_eq_c(o->format, "bash"))
        error = sl_docs_bash(out);
    else if (sl_str_eq_c(o->format, "zsh"))
        error = sl_docs_zsh(out);
    else if (sl_str_eq_c(o->format, "fish"))
        error = sl_docs_fish(out);
    else
        return sl_fail(SL_EXIT_USAGE, "--format: \"%.*s\" is not known; give markdown, json, man, bash, zsh or fish",
                       (int)o->format.len, o->format.ptr);
    if (error == SL_ENOENT)
        return sl_fail(SL_EXIT_USAGE, "--section: \"%.*s\" is not known; see `sightline docs --help`",
                       (int)o->section.len, o->section.ptr);
    return error ? sl_fail(SL_EXIT_FAILED, "docs: cannot be printed: %s; is there memory?", sl_strerror(error))
                 : SL_EXIT_OK;
}

static int run_docs(const sl_command *command, void *given, char **args, size_t arg_count)
{
    SL_ASSERT(args || !arg_count);
    (void)command;
    sl_buf out;
    sl_buf_init(&out, 16u << 20);
    char name[64] = "";
    for (size_t i = 0; i < arg_count; i++) { /* "flow server" is one command */
        size_t len = strlen(name);
        (void)snprintf(name + len, sizeof name - len, "%s%s", i ? " " : "", args[i]);
    }
    int status = make(given, arg_count ? name : NULL, &out);
    if (status == SL_EXIT_OK)
        status = sl_print(&out);
    sl_buf_done(&out);
    return status;
}

const sl_command sl_cmd_docs = {"docs",
                                "the reference: options, variables, metrics, attributes, limits",
                                "[COMMAND] [options]",
                                "Prints the reference from the tables that the program runs on; with --format man the "
                                "page of a command, with bash, zsh or fish "
                                "the completion of that shell.",
                                "  sightline docs --section metrics\n"
                                "  sightline docs --format json\n"
                                "  sightline docs --format man gateway | man -l -\n"
                                "  sightline docs --format bash > /etc/bash_completion.d/sightline\n",
                                tables,
                                sizeof(docs_command_options),
                                2,
                                run_docs};
