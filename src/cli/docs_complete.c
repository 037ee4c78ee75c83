/* Completions for bash, zsh and fish. */
#include "src/cli/docs_out.h"

#include "src/base/assert.h"

static void put_command_names(sl_buf *out)
{
    for (const sl_command *const *c = sl_commands; *c; c++)
        (void)sl_buf_printf(out, "%s%s", c == sl_commands ? "" : " ", (*c)->name);
}

static bool takes_file(const sl_option *o)
{
    SL_ASSERT(o);
    return o->arg && (strcmp(o->arg, "FILE") == 0 || strcmp(o->arg, "PATH") == 0 || strcmp(o->arg, "DIR") == 0);
}

/* ---- bash ---- */

int sl_docs_bash(sl_buf *out)
{
    (void)sl_buf_put_c(out,
                       "# Completion of sightline for bash.\n_sightline()\n{\n    local "
                       "current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} options=\n"
                       "    COMPREPLY=()\n    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        COMPREPLY=($(compgen -W \"");
    put_command_names(out);
    (void)sl_buf_put_c(out, " --help --version\" -- \"$current\"))\n        return\n    fi\n    case $previous in\n");
    (void)sl_buf_put_c(out,
                       "    --format) COMPREPLY=($(compgen -W \"text json\" -- \"$current\")); return ;;\n"
                       "    -c|--config|--ready-file|--ca-file) COMPREPLY=($(compgen -f -- \"$current\")); return ;;\n"
                       "    --data-dir) COMPREPLY=($(compgen -d -- \"$current\")); return ;;\n    esac\n    case "
                       "${COMP_WORDS[1]} in\n");
    for (const sl_command *const *c = sl_commands; *c; c++) {
        (void)sl_buf_printf(out, "    %s) options=\"", (*c)->name);
        for (const sl_option *const *table = (*c)->tables; *table; table++) {
            for (const sl_option *o = *table; o->name; o++)
                (void)sl_buf_printf(out, "--%s ", o->name);
        }
        (void)sl_buf_put_c(out, "--help --version\" ;;\n");
    }
    return sl_buf_put_c(
        out, "    esac\n    case $current in\n    -*) COMPREPLY=($(compgen -W \"$options\" -- \"$current\")) ;;\n"
             "    *) COMPREPLY=($(compgen -f -- \"$current\")) ;;\n    esac\n}\ncomplete -o filenames -F _sightline "
             "sightline\n");
}

/* ---- zsh ---- */

/* Text in single quotes, within brackets. */
static void put_zsh_text(sl_buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\'')
            (void)sl_buf_put_c(out, "'\\''");
        else if (*text == '[' || *text == ']' || *text == ':' || *text == '\\')
            (void)sl_buf_printf(out, "\\%c", *text);
        else
            (void)sl_buf_put_char(out, *text);
    }
}

static void put_zsh_option(sl_buf *out, const sl_option *o)
{
    SL_ASSERT(o);
    (void)sl_buf_printf(out, " \\\n            '%s--%s[", o->type == SL_OPT_LIST ? "*" : "", o->name);
    put_zsh_text(out, o->help);
    (void)sl_buf_put_char(out, ']');
    if (o->arg)
        (void)sl_buf_printf(out, ":%s:%s", o->arg, takes_file(o) ? "_files" : "");
    (void)sl_buf_put_char(out, '\'');
}

int sl_docs_zsh(sl_buf *out)
{
    (void)sl_buf_put_c(out, "#compdef sightline\n# Completion of sightline for zsh.\n_sightline() {\n    local -a "
                            "commands\n    commands=(\n");
    for (const sl_command *const *c = sl_commands; *c; c++) {
        (void)sl_buf_printf(out, "        '%s:", (*c)->name);
        put_zsh_text(out, (*c)->summary);
        (void)sl_buf_put_c(out, "'\n");
    }
    (void)sl_buf_put_c(
        out, "    )\n    if (( CURRENT == 2 )); then\n        _describe command commands\n        return\n    fi\n"
             "    local name=$words[2]\n    shift words\n    (( CURRENT-- ))\n    case $name in\n");
    for (const sl_command *const *c = sl_commands; *c; c++) {
        (void)sl_buf_printf(out, "    %s)\n        _arguments", (*c)->name);
        for (const sl_option *const *table = (*c)->tables; *table; table++) {
            for (const sl_option *o = *table; o->name; o++)
                put_zsh_option(out, o);
        }
        (void)sl_buf_put_c(out, " \\\n            '--help[Show the options]' '*:file:_files' ;;\n");
    }
    return sl_buf_put_c(out, "    esac\n}\n_sightline \"$@\"\n");
}

/* ---- fish ---- */

static void put_fish_text(sl_buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\'' || *text == '\\')
            (void)sl_buf_put_char(out, '\\');
        (void)sl_buf_put_char(out, *text);
    }
}

int sl_docs_fish(sl_buf *out)
{
    SL_ASSERT(out);
    (void)sl_buf_put_c(out, "# Completion of sightline for fish.\n");
    for (const sl_command *const *c = sl_commands; *c; c++) {
        (void)sl_buf_printf(out, "complete -c sightline -f -n __fish_use_subcommand -a %s -d '", (*c)->name);
        put_fish_text(out, (*c)->summary);
        (void)sl_buf_put_c(out, "'\n");
        for (const sl_option *const *table = (*c)->tables; *table; table++) {
            for (const sl_option *o = *table; o->name; o++) {
                (void)sl_buf_printf(out, "complete -c sightline -n '__fish_seen_subcommand_from %s' -l %s", (*c)->name,
                                    o->name);
                if (o->letter)
                    (void)sl_buf_printf(out, " -s %c", o->letter);
                if (o->arg)
                    (void)sl_buf_put_c(out, takes_file(o) ? " -r" : " -x");
                (void)sl_buf_put_c(out, " -d '");
                put_fish_text(out, o->help);
                (void)sl_buf_put_c(out, "'\n");
            }
        }
    }
    return out->failed;
}
