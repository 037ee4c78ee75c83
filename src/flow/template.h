/*
 * Handlebars templates, as workflow files use them: {{path}}, {{{path}}}, {{#if}} {{#unless}} {{#each}} {{#with}} with
 * {{else}}, @index @key @first @last @root, this, ../, lookup and the helpers listed in the reference. Nothing is
 * HTML-escaped (prompts are no pages).
 *
 * A compiled template is immutable: any number of threads may render it. Compiling and rendering are bounded in depth,
 * in loop rounds and in bytes (limits.h: SL_MAX_TEMPLATE_...); what goes over is SL_ETOOBIG with a fault that says
 * which.
 */
#ifndef SL_FLOW_TEMPLATE_H
#define SL_FLOW_TEMPLATE_H

#include <jansson.h>

#include "src/base/buf.h"
#include "src/flow/fault.h"

/* An object with this member prints as the member's text: the output of a step, which is text and has parts. */
#define SL_FLOW_TEXT_KEY "\001text"

typedef struct sl_template sl_template;

/* Compiles. Errors: SL_EPARSE, SL_ETOOBIG, SL_ENOMEM, with `fault` (may be NULL) filled. The text is copied. */
SL_MUST_CHECK int sl_template_new(sl_str text, sl_flow_fault *fault, sl_template **ret_template);
/* NULL is accepted. */
void sl_template_free(sl_template *template);
/* Appends the text to `out`. What is not bound renders as nothing. Errors: SL_ETOOBIG, SL_ENOMEM. */
SL_MUST_CHECK int sl_template_render(const sl_template *template, json_t *context, sl_buf *out, sl_flow_fault *fault);
/* The same as one part of a larger work (src/flow/expr_value.h): what it takes is taken from there. */
struct sl_flow_work;
SL_MUST_CHECK int sl_template_render_within(const sl_template *template, json_t *context, struct sl_flow_work *work,
                                            sl_buf *out);
/*
 * As a value: a template that is one path and nothing else gives what is bound there as it is (a list stays a list;
 * unbound: JSON null); every other one gives its text as a JSON string. Ownership: the caller holds a reference.
 */
SL_MUST_CHECK int sl_template_value(const sl_template *template, json_t *context, json_t **ret_value,
                                    sl_flow_fault *fault);
/* True when there is nothing to fill in. */
bool sl_template_is_plain(const sl_template *template);
/* Tells every path that is read from the root context, as written ("steps.a.text"), with its place: for validation. */
void sl_template_each_path(const sl_template *template,
                           void (*fn)(void *user, sl_str path, unsigned line, unsigned column), void *user);

#endif
