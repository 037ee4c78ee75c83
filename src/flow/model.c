/* A loaded workflow: its life, and filling in the templates of a step. */
#include "src/flow/model_impl.h"

#include <stdatomic.h>

#include "src/base/assert.h"
#include "src/base/limits.h"
#include "src/base/mem.h"

#define KEEP_BYTES ((size_t)1 << 30) /* what a file of SL_MAX_FLOW_BYTES makes is far below that */

typedef struct flow_owner {
    sl_flow flow; /* first: the two have one address */
    sl_arena arena;
    atomic_size_t refs;
} flow_owner;

static flow_owner *owner_of(sl_flow *flow)
{
    SL_ASSERT(flow);
    return (flow_owner *)flow;
}

sl_flow *sl_flow_new(void)
{
    flow_owner *owner = sl_calloc(1, sizeof *owner);
    if (!owner)
        return NULL;
    sl_arena_init(&owner->arena, 16 * 1024, KEEP_BYTES);
    atomic_init(&owner->refs, 1);
    owner->flow.id = owner->flow.name = owner->flow.description = "";
    owner->flow.version = "1.0";
    owner->flow.timeout_ms = 3600 * 1000;
    owner->flow.root.name = "";
    return &owner->flow;
}

sl_arena *sl_flow_arena(sl_flow *flow)
{
    return &owner_of(flow)->arena;
}

sl_flow *sl_flow_ref(sl_flow *flow)
{
    SL_ASSERT(flow && atomic_load(&owner_of(flow)->refs) > 0);
    (void)atomic_fetch_add_explicit(&owner_of(flow)->refs, 1, memory_order_relaxed); /* the caller has one */
    return flow;
}

static void free_block(sl_flow_block *block)
{
    SL_ASSERT(block);
    for (size_t i = 0; i < block->step_count; i++) {
        sl_step *step = &block->steps[i];
        for (size_t t = 0; t < step->text_count; t++)
            sl_template_free(step->texts[t]);
        sl_condition_free(step->condition);
        sl_condition_free(step->chooser);
        json_decref(step->params);
        for (size_t b = 0; b < step->block_count; b++)
            free_block(&step->blocks[b]);
    }
}

void sl_flow_unref(sl_flow *flow)
{
    if (!flow)
        return;
    /* Whoever lets go last must see what the others did with it. */
    if (atomic_fetch_sub_explicit(&owner_of(flow)->refs, 1, memory_order_acq_rel) != 1)
        return;
    free_block(&flow->root);
    json_decref(flow->metadata);
    sl_free(flow->source);
    sl_arena_done(&owner_of(flow)->arena);
    sl_free(owner_of(flow));
}

/* ---- filling in ---- */

typedef struct renderer {
    const sl_step *step;
    json_t *context;
    sl_flow_fault *fault;
    size_t next; /* text */
    int error;
} renderer;

static json_t *render(renderer *r, json_t *value);

static json_t *render_text(renderer *r, json_t *value)
{
    SL_ASSERT(r->next < r->step->text_count);
    const sl_template *text = r->step->texts[r->next++];
    json_t *result = NULL;
    if (!text)
        return json_incref(value);
    r->error = sl_template_value(text, r->context, &result, r->fault);
    return r->error ? NULL : result;
}

static json_t *render_list(renderer *r, json_t *value)
{
    SL_ASSERT(json_is_array(value));
    json_t *list = json_array();
    for (size_t i = 0; list && !r->error && i < json_array_size(value); i++) {
        json_t *item = render(r, json_array_get(value, i));
        if (!item || json_array_append_new(list, item) != 0)
            r->error = r->error ? r->error : SL_ENOMEM;
    }
    return list;
}

static json_t *render_map(renderer *r, json_t *value)
{
    SL_ASSERT(json_is_object(value));
    json_t *map = json_object(), *member;
    const char *key;
    if (!map)
        return NULL;
    json_object_foreach(value, key, member)
    {
        json_t *item = render(r, member);
        if (!item || json_object_set_new_nocheck(map, key, item) != 0)
            r->error = r->error ? r->error : SL_ENOMEM;
        if (r->error)
            break;
    }
    return map;
}

/* In the order in which the texts were compiled: that of the members in the file. */
static json_t *render(renderer *r, json_t *value)
{
    json_t *result = json_is_string(value)   ? render_text(r, value)
                     : json_is_array(value)  ? render_list(r, value)
                     : json_is_object(value) ? render_map(r, value)
                                             : json_incref(value);
    if (!result && !r->error)
        r->error = SL_ENOMEM;
    if (r->error) {
        json_decref(result);
        return NULL;
    }
    return result;
}

int sl_step_render(const sl_step *step, json_t *context, json_t **ret_params, sl_flow_fault *fault)
{
    SL_ASSERT(step && step->params && context && ret_params);
    renderer r = {.step = step, .context = context, .fault = fault};
    json_t *params = render(&r, step->params);
    if (r.error == SL_ENOMEM)
        sl_flow_fault_set(fault, 0, 0, "step %s: out of memory; make inputs smaller", step->id);
    if (r.error)
        return r.error;
    SL_ASSERT(r.next == step->text_count);
    *ret_params = params;
    return 0;
}
