/*
 * What templates, conditions and expressions read: steps that do not exist, results that no step has, steps that may
 * not have ended; and outputs that nothing reads.
 */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/flow/load_draft.h"

/* ---- paths ---- */

/* The next part of a path; false at its end. "a.b", "a/b", "a[0]", "a["b"]", "a.[b]". */
static bool next_part(sl_str *rest, sl_str *ret_part, bool *ret_computed)
{
    SL_ASSERT(rest && ret_part && ret_computed);
    while (rest->len && (rest->ptr[0] == '.' || rest->ptr[0] == '/'))
        *rest = sl_str_sub(*rest, 1, rest->len);
    if (!rest->len)
        return false;
    size_t end = 0;
    *ret_computed = false;
    if (rest->ptr[0] == '[') {
        end = sl_str_chr(*rest, ']');
        sl_str part = sl_str_trim(sl_str_sub(*rest, 1, (end == SL_NPOS ? rest->len : end) - 1));
        bool quoted = part.len >= 2 && (part.ptr[0] == '"' || part.ptr[0] == '\'');
        *ret_part = quoted ? sl_str_sub(part, 1, part.len - 2) : part;
        *rest = end == SL_NPOS ? SL_STR("") : sl_str_sub(*rest, end + 1, rest->len);
        return true;
    }
    while (end < rest->len && !strchr("./[", rest->ptr[end]))
        end++;
    *ret_part = sl_str_sub(*rest, 0, end);
    *rest = sl_str_sub(*rest, end, rest->len);
    return true;
}

/* ---- what is read ---- */

typedef struct reading {
    sl_loader *loader;
    sl_draft *draft; /* who reads */
    const sl_draft_ref *ref;
} reading;

static void tell(const reading *r, sl_problem_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void tell(const reading *r, sl_problem_level level, const char *format, ...)
{
    SL_ASSERT(r && format);
    char text[SL_FLOW_FAULT_BYTES];
    va_list args;
    if (!sl_problems_room(r->loader->problems, level)) {
        sl_load_problem_in(r->loader, level, r->draft, r->ref->node, 0, 0, "%s", "");
        return;
    }
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    sl_load_problem_in(r->loader, level, r->draft, r->ref->node, r->ref->line, r->ref->column, "%s", text);
}

static void tell_no_step(const reading *r, sl_str root, sl_str id)
{
    sl_suggestion suggestion;
    sl_suggest_init(&suggestion, id);
    for (size_t i = 0; i < r->loader->count && sl_problems_room(r->loader->problems, SL_PROBLEM_ERROR); i++)
        sl_suggest_offer(&suggestion, r->loader->all[i]->step.id);
    if (suggestion.best && *suggestion.best)
        tell(r, SL_PROBLEM_ERROR, "%.*s.%.*s: no such step; did you mean %s?", SL_SHOWN(root), SL_SHOWN(id),
             suggestion.best);
    else
        tell(r, SL_PROBLEM_ERROR, "%.*s.%.*s: no such step; write the id of a step of this file", SL_SHOWN(root),
             SL_SHOWN(id));
}

/* True when `draft` surely begins after `target` has ended. */
static bool is_before(sl_draft *target, sl_draft *draft)
{
    SL_ASSERT(target && draft);
    sl_draft *from = draft, *to = NULL;
    while (from && !(to = sl_load_within(target, from->block)))
        from = from->block->owner;
    if (!from || !to || from == to)
        return false;
    const sl_draft_block *block = from->block;
    if (!block->before)
        return true; /* its rings were told of */
    return block->before[from->order * block->row + to->order / 64] >> (to->order % 64) & 1;
}

/* A step in a loop, read from outside of that loop: the loop's step; else NULL. */
static const sl_draft *loop_around(const sl_draft *target, sl_draft *draft)
{
    for (const sl_draft_block *block = target->block; block->owner; block = block->owner->block) {
        if (block->owner->step.type == SL_STEP_LOOP && block->owner->has_kind && !sl_load_within(draft, block))
            return block->owner;
    }
    return NULL;
}

static void check_order(const reading *r, sl_draft *target)
{
    SL_ASSERT(r && target);
    const sl_draft *loop = loop_around(target, r->draft);
    if (target == r->draft)
        tell(r, SL_PROBLEM_WARNING, "%.*s: the step's own result, which it does not have yet; read another step's",
             SL_SHOWN(r->ref->path));
    else if (loop)
        tell(r, SL_PROBLEM_WARNING, "%.*s: %s runs once for each item; read the results of %s, which are a list",
             SL_SHOWN(r->ref->path), target->step.id, loop->step.id);
    else if (!is_before(target, r->draft))
        tell(r, SL_PROBLEM_WARNING, "%.*s: %s may not have run by then; add it to depends_on", SL_SHOWN(r->ref->path),
             target->step.id);
}

/* What steps have beside the outputs that they name, by position where that is so. */
static const char *const own_parts[][6] = {
    [SL_STEP_LLM] = {"text", "model", "tokens", "metadata", "_response", NULL},
    [SL_STEP_EMBED] = {"vector", "metadata", NULL},
    [SL_STEP_VECTOR_SEARCH] = {"results", "metadata", NULL},
};

/* A part of the result by its name: which output that is, if any; a warning when the step has no such part. */
static void check_part(const reading *r, sl_draft *target, sl_str part)
{
    SL_ASSERT(r && target);
    const sl_step *step = &target->step;
    for (size_t i = 0; i < step->output_count; i++) {
        if (sl_str_eq_c(part, step->outputs[i])) {
            target->used[i] = true;
            return;
        }
    }
    if (!target->has_kind || step->type > SL_STEP_VECTOR_SEARCH)
        return;
    sl_suggestion suggestion;
    sl_suggest_init(&suggestion, part);
    for (size_t i = 0; own_parts[step->type][i]; i++) {
        if (sl_str_eq_c(part, own_parts[step->type][i])) {
            if (i < step->output_count)
                target->used[i] = true;
            return;
        }
        sl_suggest_offer(&suggestion, own_parts[step->type][i]);
    }
    for (size_t i = 0; i < step->output_count; i++)
        sl_suggest_offer(&suggestion, step->outputs[i]);
    tell(r, SL_PROBLEM_WARNING, "%.*s: %s has no result of that name%s%s%s", SL_SHOWN(r->ref->path), step->id,
         suggestion.best ? "; did you mean " : ", and binds nothing; name it in its output",
         suggestion.best ? suggestion.best : "", suggestion.best ? "?" : "");
}

static void use_all(sl_draft *target)
{
    for (size_t i = 0; i < target->step.output_count; i++)
        target->used[i] = true;
}

/* An entry of `inputs` that is one word: an output of some step, a step, or an input of the workflow. */
static void read_name(const reading *r, sl_str name)
{
    sl_draft *step = sl_load_find(r->loader, name);
    if (step) {
        use_all(step);
        step->needed = true;
    }
    for (size_t i = 0; i < r->loader->count; i++) {
        sl_draft *draft = r->loader->all[i];
        for (size_t k = 0; k < draft->step.output_count; k++) {
            if (sl_str_eq_c(name, draft->step.outputs[k]))
                draft->used[k] = true;
        }
    }
}

static void check_ref(const reading *r)
{
    SL_ASSERT(r && r->ref && r->draft);
    sl_str rest = r->ref->path, root, id, part;
    bool computed;
    if (!next_part(&rest, &root, &computed))
        return;
    while (sl_str_eq_c(root, "@root") || sl_str_eq_c(root, "this")) {
        if (!next_part(&rest, &root, &computed))
            return;
    }
    if (!sl_str_eq_c(root, "steps") && !sl_str_eq_c(root, "outputs")) {
        if (r->ref->name)
            read_name(r, root);
        return;
    }
    if (!next_part(&rest, &id, &computed)) {
        r->loader->reads_all = true;
        return;
    }
    sl_draft *target = sl_load_find(r->loader, id);
    if (!target) {
        tell_no_step(r, root, id);
        return;
    }
    if (target != r->draft)
        target->needed = true;
    if (next_part(&rest, &part, &computed))
        check_part(r, target, part);
    else
        use_all(target);
    check_order(r, target);
}

/* ---- what is not read ---- */

/*
 * Outputs of the last steps are the workflow's results; those of others are there to be read. A name in front of one
 * that is read must stay: results have their names by position.
 */
static void check_unused(sl_loader *loader, const sl_draft *draft)
{
    SL_ASSERT(loader && draft);
    const sl_node *node = draft->output_node;
    bool behind = false;
    for (size_t i = node && draft->needed ? draft->step.output_count : 0; i > 0; i--) {
        const sl_node *item = node->type == SL_NODE_LIST ? node->is.list.items[i - 1] : node;
        if (!draft->used[i - 1])
            sl_load_warning(loader, draft, item, "output: \"%.*s\" is never read; %s", SL_SHOWN(item->text),
                            behind ? "read it, or leave it for the places of those behind it" : "remove the name");
        behind |= draft->used[i - 1];
    }
}

void sl_validate_refs(sl_loader *loader)
{
    SL_ASSERT(loader && !loader->stopped);
    for (size_t i = 0; i < loader->count; i++) {
        for (const sl_draft_ref *ref = loader->all[i]->refs; ref; ref = ref->next) {
            reading r = {loader, loader->all[i], ref};
            check_ref(&r);
        }
    }
    for (size_t i = 0; i < loader->count && !loader->reads_all; i++)
        check_unused(loader, loader->all[i]);
}
