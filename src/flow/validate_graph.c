/*
 * Dependencies: what depends_on names, rings, and an order in which every step comes behind what it depends on.
 *
 * Blocks hide their steps: to depend on a step inside a block is to depend on the step that has the block, and a step
 * inside a block that depends on one outside makes the step that has the block wait. So every block is a graph of its
 * own.
 */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/flow/load_draft.h"

/* ---- what depends_on names ---- */

static void add_edge(sl_loader *loader, sl_draft *from, sl_draft *to)
{
    SL_ASSERT(from && to && from->block == to->block);
    if (!sl_load_grow(loader, &from->depends, from->depend_count, &from->depend_room))
        return;
    from->depends[from->depend_count++] = to;
    to->needed = true;
}

static void tell_unknown(sl_loader *loader, const sl_draft *draft, const sl_node *node)
{
    SL_ASSERT(draft && node);
    sl_suggestion suggestion;
    sl_suggest_init(&suggestion, node->text);
    for (size_t i = 0; i < loader->count && sl_problems_room(loader->problems, SL_PROBLEM_ERROR); i++) {
        if (loader->all[i] != draft)
            sl_suggest_offer(&suggestion, loader->all[i]->step.id);
    }
    if (suggestion.best && *suggestion.best)
        sl_load_error(loader, draft, node, "depends_on: no step \"%.*s\"; did you mean %s?", SL_SHOWN(node->text),
                      suggestion.best);
    else
        sl_load_error(loader, draft, node, "depends_on: no step \"%.*s\"; write the id of a step of this file",
                      SL_SHOWN(node->text));
}

/* One name: an edge in the innermost block that holds both, between the steps that hold them. */
static void resolve(sl_loader *loader, sl_draft *draft, const sl_node *node)
{
    SL_ASSERT(loader && draft && node);
    sl_draft *target = sl_load_find(loader, node->text), *from = draft, *to = NULL;
    if (!target) {
        tell_unknown(loader, draft, node);
        return;
    }
    while (from && !(to = sl_load_within(target, from->block)))
        from = from->block->owner;
    SL_ASSERT(from && to); /* the file's own block holds every step */
    if (from != to)
        add_edge(loader, from, to);
    else if (target == draft)
        sl_load_error(loader, draft, node, "depends_on: the step waits for itself; remove it");
    else if (from == draft)
        sl_load_error(loader, draft, node,
                      "depends_on: %s stands inside of this step, which waits for it anyway; "
                      "remove it",
                      target->step.id);
    else if (from == target)
        sl_load_error(loader, draft, node, "depends_on: the step stands inside of %s, which waits for it; remove it",
                      target->step.id);
    else
        sl_load_error(loader, draft, node,
                      "depends_on: %s stands in another branch of %s; steps of one branch cannot "
                      "wait for those of another",
                      target->step.id, from->step.id);
}

static void resolve_all(sl_loader *loader, sl_draft *draft)
{
    const sl_node *node = sl_node_get(draft->node, "depends_on");
    if (!node || node->type == SL_NODE_MAP || node->type == SL_NODE_NULL)
        return;
    size_t count = node->type == SL_NODE_LIST ? node->is.list.count : 1;
    for (size_t i = 0; i < count && !loader->failed; i++) {
        const sl_node *item = node->type == SL_NODE_LIST ? node->is.list.items[i] : node;
        if (item->type != SL_NODE_LIST && item->type != SL_NODE_MAP && item->text.len)
            resolve(loader, draft, item);
    }
}

/* Several names may mean one step. */
static void drop_doubles(sl_draft *draft, size_t mark)
{
    SL_ASSERT(draft && mark > 0);
    size_t kept = 0;
    for (size_t i = 0; i < draft->depend_count; i++) {
        if (draft->depends[i]->mark == mark)
            continue;
        draft->depends[i]->mark = mark;
        draft->depends[kept++] = draft->depends[i];
    }
    draft->depend_count = kept;
}

/* ---- rings ---- */

/* The ids of a ring from `start` on, as "a -> b -> a". */
static void tell_ring(sl_loader *loader, const sl_draft *start, sl_draft *const *next)
{
    SL_ASSERT(start && next);
    char text[160];
    size_t len = 0, left = 0;
    const sl_draft *at = start;
    do {
        if (len + strlen(at->step.id) + 40 < sizeof text)
            len += (size_t)snprintf(text + len, sizeof text - len, "%s -> ", at->step.id);
        else
            left++;
        at = next[at->order];
    } while (at != start);
    if (left)
        (void)snprintf(text + len, sizeof text - len, "(%zu more) -> ", left);
    const sl_node *node = sl_node_get(start->node, "depends_on");
    sl_load_error(loader, start, node ? node : start->node,
                  "depends_on: the steps wait for one another: %s%s; remove one of these", text, start->step.id);
}

/*
 * Steps that could not be placed lie on rings, or behind them. From each one walks back along one dependency that is
 * not placed either, until a step is met again.
 */
static void tell_rings(sl_loader *loader, const sl_draft_block *block)
{
    SL_ASSERT(loader && block);
    sl_draft **next = sl_load_alloc(loader, block->count, sizeof(sl_draft *));
    if (!next)
        return;
    for (size_t i = 0; i < block->count; i++)
        block->steps[i]->mark = 0;
    for (size_t i = 0; i < block->count; i++) {
        sl_draft *at = block->steps[i];
        while (at && at->waiting && !at->mark) {
            at->mark = i + 1;
            sl_draft *before = NULL;
            for (size_t d = 0; d < at->depend_count && !before; d++)
                before = at->depends[d]->waiting ? at->depends[d] : NULL;
            next[at->order] = before;
            at = before;
        }
        if (at && at->waiting && at->mark == i + 1)
            tell_ring(loader, at, next);
    }
}

/* ---- order ---- */

/* Those that depend on each step, one list after another. */
typedef struct followers {
    sl_draft **steps;
    size_t *begin; /* of each step's list, by its order; one more at the end */
} followers;

static bool find_followers(sl_loader *loader, const sl_draft_block *block, followers *ret)
{
    SL_ASSERT(block && ret);
    size_t edges = 0;
    for (size_t i = 0; i < block->count; i++)
        edges += block->steps[i]->depend_count;
    ret->steps = sl_load_alloc(loader, edges + 1, sizeof(sl_draft *));
    ret->begin = sl_load_alloc(loader, block->count + 2, sizeof *ret->begin);
    if (!ret->steps || !ret->begin)
        return false;
    size_t *end = ret->begin + 1; /* shifted by one while the lists are filled */
    for (size_t i = 0; i < block->count; i++) {
        for (size_t d = 0; d < block->steps[i]->depend_count; d++)
            end[block->steps[i]->depends[d]->order + 1]++;
    }
    for (size_t i = 1; i <= block->count; i++)
        end[i] += end[i - 1];
    for (size_t i = 0; i < block->count; i++) {
        for (size_t d = 0; d < block->steps[i]->depend_count; d++)
            ret->steps[end[block->steps[i]->depends[d]->order]++] = block->steps[i];
    }
    return true;
}

/* Puts the steps in order: those that wait for nothing first, as they stand in the file. The number that was placed. */
static size_t place_steps(sl_loader *loader, sl_draft_block *block)
{
    SL_ASSERT(block && block->count);
    followers follow;
    sl_draft **placed = sl_load_alloc(loader, block->count, sizeof(sl_draft *));
    size_t count = 0;
    if (!placed || !find_followers(loader, block, &follow))
        return 0;
    for (size_t i = 0; i < block->count; i++) {
        block->steps[i]->waiting = block->steps[i]->depend_count;
        if (!block->steps[i]->waiting)
            placed[count++] = block->steps[i];
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t f = follow.begin[placed[i]->order]; f < follow.begin[placed[i]->order + 1]; f++) {
            if (--follow.steps[f]->waiting == 0)
                placed[count++] = follow.steps[f];
        }
    }
    if (count < block->count)
        return count;
    block->steps = placed;
    block->room = block->count;
    for (size_t i = 0; i < count; i++)
        placed[i]->order = i;
    return count;
}

/* For each step the set of those that have ended when it begins. */
static void find_before(sl_loader *loader, sl_draft_block *block)
{
    SL_ASSERT(block && block->count && !block->before);
    block->row = (block->count + 63) / 64;
    block->before = sl_calloc(block->count, block->row * sizeof *block->before);
    if (!block->before) {
        loader->failed = SL_ENOMEM;
        return;
    }
    for (size_t i = 0; i < block->count; i++) {
        uint64_t *row = block->before + i * block->row;
        const sl_draft *draft = block->steps[i];
        for (size_t d = 0; d < draft->depend_count; d++) {
            size_t order = draft->depends[d]->order;
            SL_ASSERT(order < i);
            for (size_t w = 0; w < block->row; w++)
                row[w] |= block->before[order * block->row + w];
            row[order / 64] |= (uint64_t)1 << (order % 64);
        }
    }
}

static void order_block(sl_loader *loader, sl_draft_block *block)
{
    SL_ASSERT(loader && block);
    if (!block->count || loader->failed)
        return;
    for (size_t i = 0; i < block->count; i++) {
        block->steps[i]->order = i;
        block->steps[i]->mark = 0;
    }
    for (size_t i = 0; i < block->count; i++)
        drop_doubles(block->steps[i], i + 1);
    size_t placed = place_steps(loader, block);
    if (loader->failed)
        return;
    if (placed < block->count)
        tell_rings(loader, block);
    else
        find_before(loader, block);
}

void sl_validate_graph(sl_loader *loader)
{
    SL_ASSERT(loader && !loader->stopped);
    for (size_t i = 0; i < loader->count && !loader->failed; i++)
        resolve_all(loader, loader->all[i]);
    order_block(loader, &loader->root);
    for (size_t i = 0; i < loader->count; i++) {
        sl_draft *draft = loader->all[i];
        for (size_t b = 0; b < draft->block_count; b++) {
            /* All steps were moved away, or none could be read: the fault is told elsewhere, or here. */
            if (!draft->blocks[b].count && !loader->problems->errors)
                sl_load_error(loader, draft, draft->node, "no steps are left in one of its blocks; name at least one");
            order_block(loader, &draft->blocks[b]);
        }
    }
}
