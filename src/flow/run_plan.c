/* Plans: which steps wait for which, and names of spans, made once for each flow. */
#include "src/flow/executor_impl.h"
#include "src/flow/flow_telemetry.h"

#define PLAN_BLOCK_BYTES 4096u
#define PLAN_MAX_BYTES (256u * 1024 * 1024)

static size_t bucket_of(const sl_flow *flow)
{
    return ((uintptr_t)flow >> 6) % SL_FLOW_PLAN_BUCKETS;
}

static bool join(sl_arena *arena, const char *head, const char *tail, sl_str *ret_text)
{
    size_t head_len = strlen(head), tail_len = strlen(tail), len = head_len + tail_len;
    char *text = sl_arena_alloc(arena, len + 1);
    if (!text)
        return false;
    memcpy(text, head, head_len);
    memcpy(text + head_len, tail, tail_len);
    text[len] = 0;
    *ret_text = sl_str_of(text, len);
    return true;
}

/* The reverse of `depends`: how many first, then which. */
static bool reverse(sl_arena *arena, sl_block_plan *plan)
{
    size_t count = plan->block->step_count;
    for (size_t i = 0; i < count; i++) {
        const sl_step *step = &plan->block->steps[i];
        for (size_t d = 0; d < step->depend_count; d++) {
            SL_ASSERT(step->depends[d] < count && step->depends[d] != i);
            plan->steps[step->depends[d]].dependent_count++;
        }
    }
    for (size_t i = 0; i < count; i++) {
        sl_step_plan *step = &plan->steps[i];
        step->dependents = sl_arena_alloc(arena, sizeof(size_t) * (step->dependent_count + 1));
        if (!step->dependents)
            return false;
        step->dependent_count = 0;
    }
    for (size_t i = 0; i < count; i++) {
        const sl_step *step = &plan->block->steps[i];
        for (size_t d = 0; d < step->depend_count; d++) {
            sl_step_plan *of = &plan->steps[step->depends[d]];
            of->dependents[of->dependent_count++] = i;
        }
    }
    return true;
}

static bool make_block(sl_arena *arena, const sl_flow_block *block, sl_block_plan *plan)
{
    plan->block = block;
    plan->steps = sl_arena_zalloc(arena, sizeof(sl_step_plan) * (block->step_count + 1));
    if (!plan->steps)
        return false;
    for (size_t i = 0; i < block->step_count; i++) {
        sl_step_plan *step = &plan->steps[i];
        step->step = &block->steps[i];
        SL_ASSERT(step->step->index == i);
        step->id = sl_str_c(step->step->id);
        step->type = sl_str_c(sl_step_type_name(step->step->type));
        if (!join(arena, "step.execute:", step->step->id, &step->span_name))
            return false;
        if (!step->step->block_count)
            continue;
        step->blocks = sl_arena_zalloc(arena, sizeof(sl_block_plan) * step->step->block_count);
        for (size_t b = 0; b < step->step->block_count; b++) {
            if (!step->blocks || !make_block(arena, &step->step->blocks[b], &step->blocks[b]))
                return false;
        }
    }
    return reverse(arena, plan);
}

static void plan_free(sl_flow_plan *plan)
{
    sl_flow_unref(plan->flow);
    sl_arena_done(&plan->arena);
    sl_free(plan);
}

static sl_flow_plan *plan_new(sl_flow *flow)
{
    sl_flow_plan *plan = sl_calloc(1, sizeof *plan);
    if (!plan)
        return NULL;
    plan->flow = sl_flow_ref(flow);
    plan->name = sl_str_c(flow->name);
    plan->id = sl_str_c(flow->id);
    sl_arena_init(&plan->arena, PLAN_BLOCK_BYTES, PLAN_MAX_BYTES);
    if (make_block(&plan->arena, &flow->root, &plan->root) &&
        join(&plan->arena, "workflow.execute:", flow->name, &plan->span_name))
        return plan;
    plan_free(plan);
    return NULL;
}

void sl_flow_plans_drop(sl_executor *executor)
{
    sl_flow_meter_forget(executor->meter);
    for (size_t i = 0; i < SL_FLOW_PLAN_BUCKETS; i++) {
        for (sl_flow_plan **at = &executor->plans[i]; *at;) {
            sl_flow_plan *plan = *at;
            if (plan->runs) {
                at = &plan->next;
                continue;
            }
            *at = plan->next;
            executor->plan_count--;
            plan_free(plan);
        }
    }
}

sl_flow_plan *sl_flow_plan_take(sl_executor *executor, sl_flow *flow)
{
    SL_ASSERT(executor && flow);
    sl_flow_plan **bucket = &executor->plans[bucket_of(flow)];
    for (sl_flow_plan *plan = *bucket; plan; plan = plan->next) {
        if (plan->flow == flow) {
            plan->runs++;
            return plan;
        }
    }
    if (executor->plan_count >= SL_FLOW_MAX_PLANS)
        sl_flow_plans_drop(executor);
    sl_flow_plan *plan = plan_new(flow);
    if (!plan)
        return NULL;
    plan->runs = 1;
    plan->next = *bucket;
    *bucket = plan;
    executor->plan_count++;
    return plan;
}

void sl_flow_plan_give(sl_executor *executor, sl_flow_plan *plan)
{
    SL_ASSERT(executor && plan && plan->runs > 0);
    plan->runs--;
    if (executor->plan_count > SL_FLOW_MAX_PLANS && !plan->runs)
        sl_flow_plans_drop(executor);
}
