/* From drafts to the workflow: arrays in its own memory, steps in their order. Nothing is wrong any more. */
#include "src/base/assert.h"
#include "src/flow/load_draft.h"

static bool publish_block(sl_loader *loader, const sl_draft_block *draft, sl_flow_block *ret_block);

static void *keep(sl_loader *loader, size_t count, size_t size)
{
    SL_ASSERT(loader && size);
    void *ptr = sl_arena_zalloc(loader->keep, count * size);
    if (!ptr)
        loader->failed = SL_ENOMEM;
    return ptr;
}

static bool publish_edges(sl_loader *loader, const sl_draft *draft, sl_step *step)
{
    SL_ASSERT(draft && step);
    size_t *depends = keep(loader, draft->depend_count, sizeof *depends);
    if (!depends)
        return false;
    for (size_t i = 0; i < draft->depend_count; i++)
        depends[i] = draft->depends[i]->order;
    step->depends = depends;
    step->depend_count = draft->depend_count;
    return true;
}

/* What the draft owned is the step's from here on, also when something fails below. */
static bool publish_step(sl_loader *loader, sl_draft *draft, sl_step *step)
{
    SL_ASSERT(loader && draft && step && draft->has_kind);
    sl_template **texts = keep(loader, draft->text_count, sizeof(sl_template *));
    if (!texts)
        return false;
    *step = draft->step;
    step->index = draft->order;
    step->texts = texts;
    step->text_count = draft->text_count;
    if (draft->text_count)
        memcpy(texts, draft->texts, draft->text_count * sizeof(sl_template *));
    draft->text_count = 0;
    draft->step.params = NULL;
    draft->step.condition = draft->step.chooser = NULL;
    sl_flow_block *blocks = keep(loader, draft->block_count, sizeof *blocks);
    if (!blocks || !publish_edges(loader, draft, step))
        return false;
    step->blocks = blocks;
    for (size_t i = 0; i < draft->block_count; i++) {
        step->block_count = i + 1;
        if (!publish_block(loader, &draft->blocks[i], &blocks[i]))
            return false;
    }
    return true;
}

static bool publish_block(sl_loader *loader, const sl_draft_block *draft, sl_flow_block *ret_block)
{
    SL_ASSERT(draft && ret_block);
    sl_step *steps = keep(loader, draft->count, sizeof *steps);
    if (!steps)
        return false;
    ret_block->name = draft->name;
    ret_block->steps = steps;
    for (size_t i = 0; i < draft->count; i++) {
        SL_ASSERT(draft->steps[i]->order == i);
        ret_block->step_count = i + 1;
        if (!publish_step(loader, draft->steps[i], &steps[i]))
            return false;
    }
    return true;
}

void sl_load_publish(sl_loader *loader)
{
    SL_ASSERT(loader && !loader->problems->errors && !loader->failed);
    loader->flow->step_total = loader->count;
    (void)publish_block(loader, &loader->root, &loader->flow->root);
}
