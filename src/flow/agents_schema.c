/* Schemas and graph of a workflow as clients of llama-agents read them. */
#include <stdio.h>
#include <string.h>

#include "src/base/assert.h"
#include "src/base/limits.h"
#include "src/flow/agents_view.h"

/* ---- inputs ---- */

typedef struct reading {
    const sl_flow *flow;
    json_t *found;  /* properties */
    json_t *hidden; /* names that are no inputs: steps, their outputs, items of loops */
} reading;

static void each_step(const sl_flow_block *block, void (*fn)(void *user, const sl_step *step), void *user)
{
    SL_ASSERT(block && fn);
    for (size_t i = 0; i < block->step_count; i++) {
        const sl_step *step = &block->steps[i];
        fn(user, step);
        for (size_t b = 0; b < step->block_count; b++)
            each_step(&step->blocks[b], fn, user);
    }
}

static void hide(void *user, const sl_step *step)
{
    reading *r = user;
    const char *as = json_string_value(json_object_get(step->params, "as"));
    (void)json_object_set_new(r->hidden, step->id, json_true());
    for (size_t i = 0; i < step->output_count; i++)
        (void)json_object_set_new(r->hidden, step->outputs[i], json_true());
    if (as)
        (void)json_object_set_new(r->hidden, as, json_true());
}

static void add(reading *r, sl_str name)
{
    char text[SL_MAX_KEY_BYTES + 1];
    if (name.len && sl_str_to_c(name, text, sizeof text))
        (void)json_object_set_new(r->found, text, json_pack("{s:s}", "title", text));
}

/* "a" of "a.b[0]", and what is behind it. */
static sl_str first_part(sl_str path, sl_str *ret_rest)
{
    size_t end = 0;
    while (end < path.len && !strchr("./[", path.ptr[end]))
        end++;
    *ret_rest = sl_str_sub(path, end < path.len ? end + 1 : end, path.len);
    return sl_str_sub(path, 0, end);
}

static void read_path(void *user, sl_str path, unsigned line, unsigned column)
{
    reading *r = user;
    static const char *const reserved[] = {"steps", "outputs", "workflow", "item", "index", "this"};
    (void)line;
    (void)column;
    sl_str rest, root = first_part(path, &rest);
    if (sl_str_eq_c(root, "inputs") || sl_str_eq_c(root, "input")) {
        sl_str none;
        add(r, first_part(rest, &none));
        return;
    }
    char text[SL_MAX_KEY_BYTES + 1];
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++) {
        if (sl_str_eq_c(root, reserved[i]))
            return;
    }
    if (root.len && root.ptr[0] != '@' && sl_str_to_c(root, text, sizeof text) && !json_object_get(r->hidden, text))
        add(r, root);
}

static void read_step(void *user, const sl_step *step)
{
    reading *r = user;
    for (size_t i = 0; i < step->text_count; i++) {
        if (step->texts[i]) /* others are plain */
            sl_template_each_path(step->texts[i], read_path, r);
    }
    if (step->condition)
        sl_condition_each_path(step->condition, read_path, r);
    if (step->chooser)
        sl_condition_each_path(step->chooser, read_path, r);
    if (step->type != SL_STEP_TRANSFORM)
        return;
    json_t *word;
    size_t i;
    json_array_foreach(json_object_get(step->params, "inputs"), i, word)
    {
        const char *name = json_string_value(word);
        if (name && !strchr(name, '{'))
            read_path(r, sl_str_c(name), 0, 0);
    }
}

/* ---- schemas ---- */

/* Takes the properties. */
static json_t *schema(const char *title, const char *description, json_t *properties)
{
    return json_pack("{s:s,s:o,s:s,s:s}", "description", description, "properties", properties, "title", title, "type",
                     "object");
}

json_t *sl_agents_start_schema(const sl_flow *flow)
{
    SL_ASSERT(flow);
    reading r = {flow, json_object(), json_object()};
    each_step(&flow->root, hide, &r);
    each_step(&flow->root, read_step, &r);
    json_decref(r.hidden);
    json_t *start = schema("StartEvent", "Starts a run: its fields are the workflow's inputs.", r.found);
    (void)json_object_set_new(start, "additionalProperties", json_true());
    return start;
}

json_t *sl_agents_stop_schema(void)
{
    return schema("StopEvent", "Ends a run: its result holds the outputs of the last steps.",
                  json_pack("{s:{s:s}}", "result", "title", "Result"));
}

json_t *sl_agents_event_schemas(const sl_flow *flow)
{
    static const char *const names[][2] = {{"RunStartedEvent", "The run has begun."},
                                           {"StepStartedEvent", "A step has begun its first try."},
                                           {"StepRetriedEvent", "A try has failed; another follows."},
                                           {"StepEmittedEvent", "A step says something while it runs."},
                                           {"StepEndedEvent", "A step has ended, or was skipped or cancelled."}};
    json_t *list = json_pack("[o,o]", sl_agents_start_schema(flow), sl_agents_stop_schema());
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        json_t *properties =
            json_pack("{s:{s:s,s:s},s:{s:s,s:s},s:{s:s,s:s}}", "seq", "title", "Seq", "type", "integer", "time",
                      "title", "Time", "type", "string", "run_id", "title", "Run Id", "type", "string");
        if (i > 0)
            (void)json_object_set_new(properties, "step", json_pack("{s:s,s:s}", "title", "Step", "type", "string"));
        (void)json_array_append_new(list, schema(names[i][0], names[i][1], properties));
    }
    return list;
}

/* ---- graph ---- */

typedef struct drawing {
    json_t *nodes, *edges;
    json_t *last; /* ids of the steps after which nothing comes */
} drawing;

static void edge(drawing *d, const char *from, const char *to, const char *label)
{
    SL_ASSERT(from && to);
    (void)json_array_append_new(
        d->edges, json_pack("{s:s,s:s,s:s?}", "source", from, "target", to, "label", label && *label ? label : NULL));
}

static bool is_last(const sl_flow_block *block, size_t index)
{
    for (size_t i = index + 1; i < block->step_count; i++) {
        for (size_t k = 0; k < block->steps[i].depend_count; k++) {
            if (block->steps[i].depends[k] == index)
                return false;
        }
    }
    return true;
}

/* Steps of a block, behind `before`. Blocks are as deep as the file may be. */
static void draw(drawing *d, const sl_flow_block *block, const char *before, bool outermost)
{
    SL_ASSERT(block);
    for (size_t i = 0; i < block->step_count; i++) {
        const sl_step *step = &block->steps[i];
        (void)json_array_append_new(d->nodes,
                                    json_pack("{s:s,s:s,s:s,s:s}", "id", step->id, "label", step->id, "node_type",
                                              "step", "description", sl_step_type_name(step->type)));
        for (size_t k = 0; k < step->depend_count; k++)
            edge(d, block->steps[step->depends[k]].id, step->id, NULL);
        if (!step->depend_count)
            edge(d, before, step->id, block->name);
        for (size_t b = 0; b < step->block_count; b++)
            draw(d, &step->blocks[b], step->id, false);
        if (!outermost || !is_last(block, i))
            continue;
        edge(d, step->id, "StopEvent", NULL);
        (void)json_array_append_new(d->last, json_string(step->id));
    }
}

/* Takes the lists and the schema. */
static json_t *event_node(const char *type, json_t *event_schema, json_t *produced_by)
{
    return json_pack("{s:s,s:s,s:s,s:s,s:[s],s:o,s:o}", "id", type, "label", type, "node_type", "event", "event_type",
                     type, "event_types", type, "event_schema", event_schema, "produced_by", produced_by);
}

json_t *sl_agents_graph(const sl_flow *flow)
{
    SL_ASSERT(flow);
    drawing d = {json_array(), json_array(), json_array()};
    draw(&d, &flow->root, "StartEvent", true);
    (void)json_array_append_new(d.nodes, event_node("StartEvent", sl_agents_start_schema(flow), json_array()));
    (void)json_array_append_new(d.nodes, event_node("StopEvent", sl_agents_stop_schema(), d.last));
    const char *description = flow->description && *flow->description ? flow->description : NULL;
    return json_pack("{s:s,s:o,s:o,s:s?}", "name", flow->name, "nodes", d.nodes, "edges", d.edges, "description",
                     description);
}
