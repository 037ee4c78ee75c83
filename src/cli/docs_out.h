/*
 * The forms of the reference: Markdown, JSON, manual pages, completions of three shells. Everything comes from the
 * tables that the code runs on. No I/O.
 */
#ifndef SL_CLI_DOCS_OUT_H
#define SL_CLI_DOCS_OUT_H

#include "src/cli/command.h"

/* Sections: X(name, title) */
#define SL_DOCS_SECTION_MAP(X)                                                                                         \
    X(commands, "Commands")                                                                                            \
    X(environment, "Environment variables")                                                                            \
    X(configuration, "Configuration file")                                                                             \
    X(workflow, "Workflow files")                                                                                      \
    X(metrics, "Metrics")                                                                                              \
    X(attributes, "Span attributes")                                                                                   \
    X(functions, "Functions of templates and expressions")                                                             \
    X(logs, "Log lines")                                                                                               \
    X(errors, "Error answers of the gateway")                                                                          \
    X(prices, "List prices of models")                                                                                 \
    X(limits, "Limits")

/* Appends one section, or all of them (`section` NULL), as Markdown. Errors: SL_ENOENT (no such section), the buffer's.
 */
SL_MUST_CHECK int sl_docs_markdown(const char *section, sl_buf *out);
/* Appends the tables as one JSON object with a member for each section that is a table. */
SL_MUST_CHECK int sl_docs_json(sl_buf *out);
/* Appends the manual page of a command, or of the program (NULL). */
SL_MUST_CHECK int sl_docs_man(const sl_command *command, sl_buf *out);
/* Append the completion script of a shell. */
SL_MUST_CHECK int sl_docs_bash(sl_buf *out);
SL_MUST_CHECK int sl_docs_zsh(sl_buf *out);
SL_MUST_CHECK int sl_docs_fish(sl_buf *out);

#endif
