/* Manual pages (man(7) macros). */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/str.h"
#include "src/cli/docs_out.h"

/* A character beyond ASCII as troff reads it whatever its input encoding; returns its length in bytes. */
static size_t put_wide(sl_buf *out, const char *text)
{
    SL_ASSERT((unsigned char)*text >= 0x80);
    bool valid;
    size_t len = sl_utf8_piece(sl_str_c(text), &valid);
    unsigned long code = (unsigned char)*text & (0x7Fu >> len);
    for (size_t i = 1; i < len; i++)
        code = code << 6 | ((unsigned char)text[i] & 0x3F);
    (void)sl_buf_printf(out, "\\[u%04lX]", valid ? code : 0xFFFDul);
    return len;
}

/* Text of a paragraph: backslashes and leading dots would be commands, hyphens are meant as they stand. */
static void put_text(sl_buf *out, const char *text)
{
    bool line_start = true;
    for (; *text; text++) {
        if (line_start && (*text == '.' || *text == '\''))
            (void)sl_buf_put_c(out, "\\&");
        if (*text == '\\')
            (void)sl_buf_put_c(out, "\\e");
        else if (*text == '-')
            (void)sl_buf_put_c(out, "\\-");
        else if ((unsigned char)*text >= 0x80)
            text += put_wide(out, text) - 1;
        else
            (void)sl_buf_put_char(out, *text);
        line_start = *text == '\n';
    }
}

static void put_option(sl_buf *out, const sl_option *o)
{
    SL_ASSERT(o);
    (void)sl_buf_put_c(out, ".TP\n");
    if (o->letter)
        (void)sl_buf_printf(out, "\\fB\\-%c\\fR, ", o->letter);
    (void)sl_buf_put_c(out, "\\fB\\-\\-");
    put_text(out, o->name);
    (void)sl_buf_put_c(out, "\\fR");
    if (o->arg)
        (void)sl_buf_printf(out, " \\fI%s\\fR", o->arg);
    (void)sl_buf_put_char(out, '\n');
    put_text(out, o->help);
    if (o->fallback && *o->fallback) {
        (void)sl_buf_put_c(out, " Default: ");
        put_text(out, o->fallback);
        (void)sl_buf_put_char(out, '.');
    }
    if (o->env)
        (void)sl_buf_printf(out, " Environment: \\fB%s\\fR.", o->env);
    (void)sl_buf_put_char(out, '\n');
}

static void put_title(sl_buf *out, const char *name, const char *summary)
{
    (void)sl_buf_put_c(out, ".\\\" Printed by `sightline docs --format man`.\n.TH ");
    for (const char *at = name; *at; at++)
        (void)sl_buf_put_char(out, *at >= 'a' && *at <= 'z' ? (char)(*at - 'a' + 'A') : *at);
    (void)sl_buf_printf(out, " 1 \"\" \"Sightline %s\" \"User Commands\"\n.SH NAME\n", sl_version());
    put_text(out, name);
    (void)sl_buf_put_c(out, " \\- ");
    put_text(out, summary);
    (void)sl_buf_put_char(out, '\n');
}

static void put_exit(sl_buf *out)
{
    (void)sl_buf_put_c(out, ".SH EXIT STATUS\n0: good. 1: the work failed. 2: usage or configuration.\n");
}

/* "sightline-flow-server". */
static void page_name(const sl_command *command, char *name, size_t size)
{
    SL_ASSERT(command);
    snprintf(name, size, "sightline-%s", command->name);
    for (char *at = name; *at; at++)
        *at = *at == ' ' ? '-' : *at;
}

static void put_program(sl_buf *out)
{
    put_title(out, "sightline", "one line of sight through an LLM stack");
    (void)sl_buf_put_c(out, ".SH SYNOPSIS\n\\fBsightline\\fR \\fICOMMAND\\fR [\\fIoptions\\fR]\n.SH DESCRIPTION\n");
    put_text(out, "An OpenAI-compatible gateway with traces, metrics, logs and health built in, and the tools around "
                  "it: recent traces and a "
                  "live table in the terminal, a load client, a fake provider, a doctor.\n");
    (void)sl_buf_put_c(out, ".SH COMMANDS\n");
    for (const sl_command *const *c = sl_commands; *c; c++) {
        char name[64];
        page_name(*c, name, sizeof name);
        (void)sl_buf_printf(out, ".TP\n\\fB%s\\fR(1)\n", name);
        put_text(out, (*c)->summary);
        (void)sl_buf_put_char(out, '\n');
    }
    put_exit(out);
    (void)sl_buf_put_c(out, ".SH ENVIRONMENT\n");
    put_text(out, "OTEL_* variables as the OpenTelemetry specification has them, and others: `sightline docs --section "
                  "environment`.\n");
    (void)sl_buf_put_c(out, ".SH SEE ALSO\n");
    for (const sl_command *const *c = sl_commands; *c; c++) {
        char name[64];
        page_name(*c, name, sizeof name);
        (void)sl_buf_printf(out, "\\fB%s\\fR(1)%s\n", name, c[1] ? "," : "");
    }
}

int sl_docs_man(const sl_command *command, sl_buf *out)
{
    SL_ASSERT(out);
    if (!command) {
        put_program(out);
        return out->failed;
    }
    char name[64];
    page_name(command, name, sizeof name);
    put_title(out, name, command->summary);
    (void)sl_buf_printf(out, ".SH SYNOPSIS\n\\fBsightline %s\\fR ", command->name);
    put_text(out, command->usage);
    (void)sl_buf_put_c(out, "\n.SH DESCRIPTION\n");
    put_text(out, command->text);
    (void)sl_buf_put_c(out, "\n.SH OPTIONS\n");
    for (const sl_option *const *table = command->tables; *table; table++) {
        for (const sl_option *o = *table; o->name; o++)
            put_option(out, o);
    }
    put_exit(out);
    if (command->examples) {
        (void)sl_buf_put_c(out, ".SH EXAMPLES\n.nf\n");
        put_text(out, command->examples);
        (void)sl_buf_put_c(out, ".fi\n");
    }
    (void)sl_buf_put_c(out, ".SH SEE ALSO\n\\fBsightline\\fR(1)\n");
    return out->failed;
}
