/* Completions for bash, zsh and fish. */
#include "src/cli/docs_out.h"

#include "src/base/assert.h"

/* The first word of a command's name ("flow" of "flow server"), and the rest. */
static sl_str first_word(const sl_command *command, sl_str *ret_rest)
{
    SL_ASSERT(command && ret_rest);
    sl_str name = sl_str_c(command->name);
    size_t space = sl_str_chr(name, ' ');
    *ret_rest = space == SL_NPOS ? sl_str_of(NULL, 0) : sl_str_sub(name, space + 1, name.len);
    return sl_str_sub(name, 0, space == SL_NPOS ? name.len : space);
}

/* True when an earlier command begins with the same word. */
static bool word_is_known(const sl_command *const *command)
{
    sl_str rest, word = first_word(*command, &rest);
    for (const sl_command *const *c = sl_commands; c < command; c++) {
        if (sl_str_eq(first_word(*c, &rest), word))
            return true;
    }
    return false;
}

/* Each first word once; with `group`, the second words behind that one. */
static void put_words(sl_buf *out, sl_str group)
{
    bool any = false;
    for (const sl_command *const *c = sl_commands; *c; c++) {
        sl_str rest, word = first_word(*c, &rest);
        if (group.len ? !sl_str_eq(word, group) || !rest.len : word_is_known(c))
            continue;
        sl_str text = group.len ? rest : word;
        (void)sl_buf_printf(out, "%s%.*s", any ? " " : "", (int)text.len, text.ptr);
        any = true;
    }
}

/* Calls `put` for every first word that has second ones. */
static void each_group(sl_buf *out, void (*put)(sl_buf *out, sl_str group))
{
    for (const sl_command *const *c = sl_commands; *c; c++) {
        sl_str rest, word = first_word(*c, &rest);
        if (rest.len && !word_is_known(c))
            put(out, word);
    }
}

static bool takes_file(const sl_option *o)
{
    SL_ASSERT(o);
    return o->arg && (strcmp(o->arg, "FILE") == 0 || strcmp(o->arg, "PATH") == 0 || strcmp(o->arg, "DIR") == 0);
}

/* ---- bash ---- */

static void put_bash_group(sl_buf *out, sl_str group)
{
    (void)sl_buf_printf(out,
                        "    if [ \"$word\" = %.*s ]; then\n        if [ \"$COMP_CWORD\" -eq 2 ]; then\n            "
                        "COMPREPLY=($(compgen -W \"",
                        (int)group.len, group.ptr);
    put_words(out, group);
    (void)sl_buf_put_c(out, " --help\" -- \"$current\"))\n            return\n        fi\n        word=\"$word "
                            "${COMP_WORDS[2]}\"\n    fi\n");
}

int sl_docs_bash(sl_buf *out)
{
    (void)sl_buf_put_c(
        out, "# Completion of sightline for bash.\n_sightline()\n{\n    local "
             "current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} word=${COMP_WORDS[1]} options=\n"
             "    COMPREPLY=()\n    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        COMPREPLY=($(compgen -W \"");
    put_words(out, sl_str_of(NULL, 0));
    (void)sl_buf_put_c(out, " --help --version\" -- \"$current\"))\n        return\n    fi\n");
    each_group(out, put_bash_group);
    (void)sl_buf_put_c(out, "    case $previous in\n");
    (void)sl_buf_put_c(out,
                       "    --format) COMPREPLY=($(compgen -W \"text json\" -- \"$current\")); return ;;\n"
                       "    -c|--config|--ready-file|--ca-file) COMPREPLY=($(compgen -f -- \"$current\")); return ;;\n"
                       "    --data-dir) COMPREPLY=($(compgen -d -- \"$current\")); return ;;\n    esac\n    case "
                       "$word in\n");
    for (const sl_command *const *c = sl_commands; *c; c++) {
        (void)sl_buf_printf(out, "    \"%s\") options=\"", (*c)->name);
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

static void put_zsh_group(sl_buf *out, sl_str group)
{
    (void)sl_buf_printf(out,
                        "    if [[ $name == %.*s ]]; then\n        if (( CURRENT == 2 )); then\n            compadd ",
                        (int)group.len, group.ptr);
    put_words(out, group);
    (void)sl_buf_put_c(out,
                       "\n            return\n        fi\n        name=\"$name $words[2]\"\n        shift words\n   "
                       "     (( CURRENT-- ))\n    fi\n");
}

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
        sl_str rest, word = first_word(*c, &rest);
        if (word_is_known(c))
            continue;
        (void)sl_buf_printf(out, "        '%.*s:", (int)word.len, word.ptr);
        put_zsh_text(out, (*c)->summary);
        (void)sl_buf_put_c(out, "'\n");
    }
    (void)sl_buf_put_c(
        out, "    )\n    if (( CURRENT == 2 )); then\n        _describe command commands\n        return\n    fi\n"
             "    local name=$words[2]\n    shift words\n    (( CURRENT-- ))\n");
    each_group(out, put_zsh_group);
    (void)sl_buf_put_c(out, "    case $name in\n");
    for (const sl_command *const *c = sl_commands; *c; c++) {
        (void)sl_buf_printf(out, "    \"%s\")\n        _arguments", (*c)->name);
        for (const sl_option *const *table = (*c)->tables; *table; table++) {
            for (const sl_option *o = *table; o->name; o++)
                put_zsh_option(out, o);
        }
        (void)sl_buf_put_c(out, " \\\n            '--help[Show the options]' '*:file:_files' ;;\n");
    }
    return sl_buf_put_c(out, "    esac\n}\n_sightline \"$@\"\n");
}

/* ---- fish ---- */

/* The condition under which a command's options are offered. */
static void put_fish_seen(sl_buf *out, const sl_command *command)
{
    sl_str rest, word = first_word(command, &rest);
    (void)sl_buf_put_c(out, "__fish_seen_subcommand_from ");
    (void)sl_buf_put_str(out, word);
    if (rest.len) {
        (void)sl_buf_put_c(out, "; and __fish_seen_subcommand_from ");
        (void)sl_buf_put_str(out, rest);
    }
}

static void put_fish_group(sl_buf *out, sl_str group)
{
    (void)sl_buf_printf(out, "complete -c sightline -f -n '__fish_seen_subcommand_from %.*s' -a '", (int)group.len,
                        group.ptr);
    put_words(out, group);
    (void)sl_buf_put_c(out, "'\n");
}

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
    each_group(out, put_fish_group);
    for (const sl_command *const *c = sl_commands; *c; c++) {
        sl_str rest, word = first_word(*c, &rest);
        if (!word_is_known(c)) {
            (void)sl_buf_printf(out, "complete -c sightline -f -n __fish_use_subcommand -a %.*s -d '", (int)word.len,
                                word.ptr);
            put_fish_text(out, (*c)->summary);
            (void)sl_buf_put_c(out, "'\n");
        }
        for (const sl_option *const *table = (*c)->tables; *table; table++) {
            for (const sl_option *o = *table; o->name; o++) {
                (void)sl_buf_put_c(out, "complete -c sightline -n '");
                put_fish_seen(out, *c);
                (void)sl_buf_printf(out, "' -l %s", o->name);
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
