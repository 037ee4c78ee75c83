/*
 * Workflow files on any bytes: they load or say why, in order, within the file; what has loaded is in order, and can be
 * rendered.
 */
#include <stdlib.h>

#include "src/flow/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void check_problems(const sl_flow_problems *problems, int error, unsigned lines)
{
    size_t errors = 0;
    require(problems->count <= SL_FLOW_MAX_PROBLEMS);
    for (size_t i = 0; i < problems->count; i++) {
        const sl_flow_problem *p = &problems->items[i], *before = i ? p - 1 : p;
        errors += !p->warning;
        require(p->message[0] && sl_utf8_valid(sl_str_c(p->message)) && sl_utf8_valid(sl_str_c(p->step)));
        require(before->line < p->line || (before->line == p->line && before->column <= p->column));
        require(p->line <= lines + 1 && !strchr(p->message, '\n'));
    }
    /* An error is always told, and only then. */
    require((error != 0) == (problems->errors > 0));
    require(errors <= problems->errors && (errors > 0) == (problems->errors > 0));
}

static size_t check_block(const sl_flow_block *block, json_t *context)
{
    size_t total = block->step_count;
    require(block->name && block->step_count > 0);
    for (size_t i = 0; i < block->step_count; i++) {
        const sl_step *step = &block->steps[i];
        json_t *params = NULL;
        require(step->index == i && step->id && step->id[0] && json_is_object(step->params));
        for (size_t d = 0; d < step->depend_count; d++)
            require(step->depends[d] < i);
        bool has_blocks = step->type >= SL_STEP_PARALLEL;
        require(has_blocks || step->block_count == 0);
        if (sl_step_render(step, context, &params, NULL) == 0)
            require(json_object_size(params) == json_object_size(step->params));
        json_decref(params);
        for (size_t b = 0; b < step->block_count; b++)
            total += check_block(&step->blocks[b], context);
    }
    return total;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static sl_flow_problems problems;
    sl_str text = sl_str_of((const char *)data, size);
    sl_flow *flow = NULL;
    unsigned lines = 1;
    for (size_t i = 0; i < size; i++)
        lines += data[i] == '\n' || data[i] == '\r' || data[i] == 0x85 || data[i] == 0xa8 || data[i] == 0xa9;
    int error = sl_flow_load(text, &problems, &flow);
    check_problems(&problems, error, lines);
    require((flow != NULL) == (error == 0));
    if (!flow)
        return 0;
    json_t *context = json_pack("{s:{s:s},s:[i,i]}", "inputs", "x", "y", "list", 1, 2);
    require(context != NULL && flow->problem_count == problems.count + problems.left_out);
    require(check_block(&flow->root, context) == flow->step_total);
    json_decref(context);
    sl_flow_unref(flow);
    return 0;
}
