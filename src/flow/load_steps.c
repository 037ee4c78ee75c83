/* Finding the steps of a file: lists of steps within steps, ids, and steps that are named where they belong. */
#include "src/base/assert.h"
#include "src/base/hash.h"
#include "src/flow/load_draft.h"

static void collect(sl_loader *loader, sl_draft_block *block, const char *key, const sl_node *node, unsigned depth);

/* ---- id and type ---- */

static bool is_plain_id(sl_str id)
{
    for (size_t i = 0; i < id.len; i++) {
        char c = id.ptr[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-' ||
              (unsigned char)c >= 0x80))
            return false;
    }
    return true;
}

static void read_id(sl_loader *loader, sl_draft *draft)
{
    SL_ASSERT(loader && draft);
    const sl_node *node = sl_node_get(draft->node, "id");
    if (!node || node->type == SL_NODE_NULL) {
        sl_load_error(loader, draft, draft->node, "id: missing; give the step a name of its own");
        return;
    }
    if (node->type == SL_NODE_LIST || node->type == SL_NODE_MAP) {
        sl_load_error(loader, draft, node, "id: %s; give a text", sl_node_type_name(node));
        return;
    }
    if (memchr(node->text.ptr, '\0', node->text.len))
        return; /* told with the other keys */
    if (!node->text.len || node->text.len > SL_MAX_FLOW_ID_BYTES) {
        sl_load_error(loader, draft, node, "id: %s; give a name of 1 to %u bytes",
                      node->text.len ? "too long" : "empty", SL_MAX_FLOW_ID_BYTES);
        return;
    }
    draft->step.id = sl_load_keep(loader, node->text);
    if (!is_plain_id(node->text))
        sl_load_warning(loader, draft, node,
                        "id: templates cannot read it as a plain path; use letters, digits, _ and -");
}

static void read_type(sl_loader *loader, sl_draft *draft)
{
    SL_ASSERT(loader && draft);
    const sl_node *node = sl_node_get(draft->node, "type");
    if (!node || node->type == SL_NODE_NULL) {
        sl_load_error(loader, draft, draft->node,
                      "type: missing; give llm, embed, vector_search, transform, action, "
                      "parallel, branch or loop");
        return;
    }
    if (node->type == SL_NODE_LIST || node->type == SL_NODE_MAP) {
        sl_load_error(loader, draft, node, "type: %s; give one word", sl_node_type_name(node));
        return;
    }
    draft->has_kind = sl_step_type_of(node->text, &draft->step.type);
    if (draft->has_kind)
        return;
    sl_suggestion suggestion;
    sl_suggest_init(&suggestion, node->text);
    for (unsigned i = 0; i < SL_STEP_TYPE_COUNT; i++)
        sl_suggest_offer(&suggestion, sl_step_type_name((sl_step_type)i));
    if (suggestion.best)
        sl_load_error(loader, draft, node, "type: \"%.*s\" is not known; did you mean %s?", SL_SHOWN(node->text),
                      suggestion.best);
    else
        sl_load_error(loader, draft, node,
                      "type: \"%.*s\" is not known; give llm, embed, vector_search, transform, action, parallel, "
                      "branch or loop",
                      SL_SHOWN(node->text));
}

/* ---- blocks ---- */

static sl_draft_block *add_blocks(sl_loader *loader, sl_draft *draft, size_t count)
{
    SL_ASSERT(draft && !draft->blocks);
    sl_draft_block *blocks = sl_load_alloc(loader, count, sizeof *blocks);
    if (!blocks)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        blocks[i].name = "";
        blocks[i].owner = draft;
    }
    draft->blocks = blocks;
    draft->block_count = count;
    return blocks;
}

static void collect_one(sl_loader *loader, sl_draft *draft, const char *key, unsigned depth)
{
    const sl_node *node = sl_node_get(draft->node, key);
    sl_draft_block *block = node ? add_blocks(loader, draft, 1) : NULL;
    if (block)
        collect(loader, block, key, node, depth);
}

/* Names of branches that conditions choose from are "true" and "false", however they are written. */
static const char *branch_name(sl_loader *loader, sl_str name)
{
    if (sl_str_ieq(name, SL_STR("true")))
        return "true";
    if (sl_str_ieq(name, SL_STR("false")))
        return "false";
    return sl_load_keep(loader, name);
}

static bool has_branch(const sl_draft *draft, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(draft->blocks[i].name, name) == 0)
            return true;
    }
    return false;
}

static void collect_branch(sl_loader *loader, sl_draft *draft, size_t index, const sl_node *key, const sl_node *node,
                           unsigned depth)
{
    SL_ASSERT(index < draft->block_count && key && node);
    sl_draft_block *block = &draft->blocks[index];
    if (!key->text.len || key->text.len > SL_MAX_FLOW_ID_BYTES)
        sl_load_error(loader, draft, key, "branches: a name is %s; give one of 1 to %u bytes",
                      key->text.len ? "too long" : "empty", SL_MAX_FLOW_ID_BYTES);
    const char *name = branch_name(loader, key->text);
    if (has_branch(draft, index, name))
        sl_load_error(loader, draft, key, "branches: \"%.*s\" stands twice; remove one", SL_SHOWN(key->text));
    block->name = name;
    collect(loader, block, name, node, depth);
}

static void collect_branches(sl_loader *loader, sl_draft *draft, unsigned depth)
{
    static const char fallback_text[] = "default";
    const sl_node *branches = sl_node_get(draft->node, "branches"), *fallback = sl_node_get(draft->node, fallback_text);
    size_t count = branches && branches->type == SL_NODE_MAP ? branches->is.map.count : 0;
    bool other = fallback && fallback->type != SL_NODE_NULL;
    if (count > SL_MAX_FLOW_BRANCHES) {
        sl_load_error(loader, draft, branches, "branches: more than %u; split the step", SL_MAX_FLOW_BRANCHES);
        loader->stopped = true;
        return;
    }
    if (branches && branches->type == SL_NODE_MAP && !count)
        sl_load_error(loader, draft, branches, "branches: none; write at least one");
    if (count + other == 0 || !add_blocks(loader, draft, count + other))
        return;
    for (size_t i = 0; i < count && !loader->stopped; i++)
        collect_branch(loader, draft, i, branches->is.map.pairs[i].key, branches->is.map.pairs[i].value, depth);
    if (other && !loader->stopped) {
        sl_node key = *fallback;
        key.text = sl_str_c(fallback_text);
        collect_branch(loader, draft, count, &key, fallback, depth);
    }
}

static void collect_blocks(sl_loader *loader, sl_draft *draft, unsigned depth)
{
    SL_ASSERT(loader && draft && draft->has_kind);
    if (draft->step.type == SL_STEP_PARALLEL)
        collect_one(loader, draft, "tasks", depth);
    else if (draft->step.type == SL_STEP_LOOP)
        collect_one(loader, draft, sl_node_get(draft->node, "steps") ? "steps" : "step", depth);
    else if (draft->step.type == SL_STEP_BRANCH)
        collect_branches(loader, draft, depth);
}

static void add_step(sl_loader *loader, sl_draft_block *block, const sl_node *node, unsigned depth)
{
    SL_ASSERT(loader && block && node->type == SL_NODE_MAP);
    if (loader->count == SL_MAX_FLOW_STEPS) {
        sl_load_error(loader, NULL, node, "steps: more than %u; split the workflow", SL_MAX_FLOW_STEPS);
        loader->stopped = true;
        return;
    }
    sl_draft *draft = sl_load_alloc(loader, 1, sizeof *draft);
    if (!draft || !sl_load_grow(loader, &loader->all, loader->count, &loader->room) ||
        !sl_load_grow(loader, &block->steps, block->count, &block->room))
        return;
    draft->node = node;
    draft->block = block;
    draft->step.id = "";
    draft->step.line = node->line;
    loader->all[loader->count++] = draft;
    block->steps[block->count++] = draft;
    read_id(loader, draft);
    read_type(loader, draft);
    if (draft->has_kind)
        collect_blocks(loader, draft, depth);
}

static void add_id(sl_loader *loader, sl_draft_block *block, const sl_node *node, size_t room)
{
    SL_ASSERT(block->id_count < room);
    if (!block->ids)
        block->ids = sl_load_alloc(loader, room, sizeof *block->ids);
    if (block->ids)
        block->ids[block->id_count++] = node;
}

static void collect_item(sl_loader *loader, sl_draft_block *block, const char *key, const sl_node *node, size_t room,
                         unsigned depth)
{
    SL_ASSERT(node && room);
    if (node->type == SL_NODE_MAP)
        add_step(loader, block, node, depth);
    else if (node->type == SL_NODE_TEXT && block->owner)
        add_id(loader, block, node, room);
    else
        sl_load_error(loader, block->owner, node, "%s: holds %s; give %s", key, sl_node_type_name(node),
                      block->owner ? "steps, or ids of steps" : "steps: maps with id and type");
}

static void collect(sl_loader *loader, sl_draft_block *block, const char *key, const sl_node *node, unsigned depth)
{
    SL_ASSERT(loader && block && key && node);
    if (depth > SL_MAX_FLOW_BLOCK_DEPTH) {
        sl_load_error(loader, block->owner, node, "%s: steps stand more than %u deep in one another; flatten them", key,
                      SL_MAX_FLOW_BLOCK_DEPTH);
        loader->stopped = true;
        return;
    }
    if (node->type == SL_NODE_NULL || (node->type == SL_NODE_LIST && !node->is.list.count)) {
        sl_load_error(loader, block->owner, node, "%s: no steps; write at least one", key);
        return;
    }
    if (node->type != SL_NODE_LIST) {
        if (block->owner)
            collect_item(loader, block, key, node, 1, depth + 1);
        else
            sl_load_error(loader, NULL, node, "%s: %s; write a list of steps: `- id: …`", key, sl_node_type_name(node));
        return;
    }
    for (size_t i = 0; i < node->is.list.count && !loader->stopped && !loader->failed; i++)
        collect_item(loader, block, key, node->is.list.items[i], node->is.list.count, depth + 1);
}

/* ---- ids ---- */

static void build_table(sl_loader *loader)
{
    SL_ASSERT(loader && !loader->table);
    size_t size = 16;
    while (size < 2 * loader->count)
        size *= 2;
    sl_draft **table = sl_load_alloc(loader, size, sizeof(sl_draft *));
    if (!table)
        return;
    loader->table = table;
    loader->table_size = size;
    for (size_t i = 0; i < loader->count; i++) {
        sl_draft *draft = loader->all[i];
        sl_str id = sl_str_c(draft->step.id);
        if (!id.len)
            continue;
        sl_draft *other = sl_load_find(loader, id);
        if (other) {
            sl_load_error(loader, draft, sl_node_get(draft->node, "id"),
                          "id: stands twice, first in line %u; give each step a name of its own", other->step.line);
            continue;
        }
        size_t at = sl_hash_str(id) & (size - 1);
        while (table[at])
            at = (at + 1) & (size - 1);
        table[at] = draft;
    }
}

/* True when `block` lies within `draft`, at any depth. */
static bool lies_within(const sl_draft_block *block, const sl_draft *draft)
{
    SL_ASSERT(block && draft);
    for (; block->owner; block = block->owner->block) {
        if (block->owner == draft)
            return true;
    }
    return false;
}

static void take_out(sl_draft *draft)
{
    sl_draft_block *block = draft->block;
    size_t at = 0;
    while (block->steps[at] != draft)
        at++;
    SL_ASSERT(at < block->count);
    block->count--;
    memmove(&block->steps[at], &block->steps[at + 1], (block->count - at) * sizeof(sl_draft *));
}

static void move_step(sl_loader *loader, sl_draft_block *block, const sl_node *node)
{
    SL_ASSERT(loader && block->owner);
    sl_draft *owner = block->owner, *draft = sl_load_find(loader, node->text);
    if (!draft) {
        sl_load_error(loader, owner, node, "\"%.*s\": no such step; write the id of a step, or the step itself",
                      SL_SHOWN(node->text));
    } else if (draft->moved) {
        sl_load_error(loader, owner, node, "\"%.*s\": belongs to step %s already; name it once", SL_SHOWN(node->text),
                      draft->block->owner->step.id);
    } else if (lies_within(block, draft)) {
        sl_load_error(loader, owner, node, "\"%.*s\": would stand within itself; name another step",
                      SL_SHOWN(node->text));
    } else if (!sl_load_within(owner, draft->block)) {
        sl_load_error(loader, owner, node, "\"%.*s\": stands inside of step %s; move it out of there",
                      SL_SHOWN(node->text), draft->block->owner->step.id);
    } else if (sl_load_grow(loader, &block->steps, block->count, &block->room)) {
        take_out(draft);
        draft->block = block;
        draft->moved = true;
        block->steps[block->count++] = draft;
    }
}

/* Moves may nest what stood side by side. */
static void check_depth(sl_loader *loader)
{
    SL_ASSERT(loader);
    for (size_t i = 0; i < loader->count; i++) {
        unsigned depth = 0;
        for (const sl_draft_block *block = loader->all[i]->block; block->owner && depth <= SL_MAX_FLOW_BLOCK_DEPTH;
             block = block->owner->block)
            depth++;
        if (depth <= SL_MAX_FLOW_BLOCK_DEPTH)
            continue;
        sl_load_error(loader, loader->all[i], loader->all[i]->node,
                      "steps: stand more than %u deep in one another; flatten them", SL_MAX_FLOW_BLOCK_DEPTH);
        loader->stopped = true;
        return;
    }
}

void sl_load_collect(sl_loader *loader)
{
    SL_ASSERT(loader && loader->tree.root);
    const sl_node *steps = sl_node_get(loader->tree.root, "steps");
    if (steps)
        collect(loader, &loader->root, "steps", steps, 0);
    build_table(loader);
    for (size_t i = 0; i < loader->count && !loader->failed; i++) {
        sl_draft *draft = loader->all[i];
        for (size_t b = 0; b < draft->block_count; b++) {
            for (size_t k = 0; k < draft->blocks[b].id_count; k++)
                move_step(loader, &draft->blocks[b], draft->blocks[b].ids[k]);
        }
    }
    check_depth(loader);
}
