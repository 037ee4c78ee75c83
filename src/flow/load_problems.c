/* The list of problems, and how it reads. */
#include "src/flow/load_problems.h"

#include <stdio.h>

#include "src/base/assert.h"

/* The last warning that stands in the list; its size when there is none. */
static size_t last_warning(const sl_flow_problems *problems)
{
    SL_ASSERT(problems->count <= SL_FLOW_MAX_PROBLEMS);
    for (size_t i = problems->count; i > 0; i--) {
        if (problems->items[i - 1].warning)
            return i - 1;
    }
    return problems->count;
}

bool sl_problems_room(const sl_flow_problems *problems, sl_problem_level level)
{
    SL_ASSERT(problems);
    if (problems->count < SL_FLOW_MAX_PROBLEMS)
        return true;
    return level == SL_PROBLEM_ERROR && last_warning(problems) < problems->count;
}

/* A value of the file must not draw on the terminal, end the line, or end within a character. */
static void tidy(char *text)
{
    SL_ASSERT(text);
    text[sl_utf8_whole(sl_str_c(text))] = '\0';
    for (; *text; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
    }
}

static bool is_known(const sl_flow_problems *problems, const sl_flow_problem *problem)
{
    SL_ASSERT(problems && problem);
    for (size_t i = 0; i < problems->count; i++) {
        const sl_flow_problem *at = &problems->items[i];
        if (at->line == problem->line && at->column == problem->column && strcmp(at->message, problem->message) == 0)
            return true;
    }
    return false;
}

void sl_problems_add(sl_flow_problems *problems, sl_problem_level level, const char *step, unsigned line,
                     unsigned column, const char *format, va_list args)
{
    SL_ASSERT(problems && format);
    sl_flow_problem problem = {.line = line, .column = column, .warning = level == SL_PROBLEM_WARNING};
    (void)vsnprintf(problem.message, sizeof problem.message, format, args);
    (void)snprintf(problem.step, sizeof problem.step, "%s", step ? step : "");
    tidy(problem.message);
    tidy(problem.step);
    if (is_known(problems, &problem))
        return;
    problems->errors += level == SL_PROBLEM_ERROR;
    if (problems->count == SL_FLOW_MAX_PROBLEMS) {
        size_t victim = last_warning(problems);
        problems->left_out++;
        if (level == SL_PROBLEM_WARNING || victim == problems->count)
            return;
        memmove(&problems->items[victim], &problems->items[victim + 1],
                (problems->count - victim - 1) * sizeof problem);
        problems->count--;
    }
    problems->items[problems->count++] = problem;
}

void sl_problems_sort(sl_flow_problems *problems)
{
    SL_ASSERT(problems && problems->count <= SL_FLOW_MAX_PROBLEMS);
    for (size_t i = 1; i < problems->count; i++) {
        sl_flow_problem moved = problems->items[i];
        size_t at = i;
        for (; at > 0; at--) {
            const sl_flow_problem *before = &problems->items[at - 1];
            if (before->line < moved.line || (before->line == moved.line && before->column <= moved.column))
                break;
            problems->items[at] = *before;
        }
        problems->items[at] = moved;
    }
}

int sl_flow_problems_format(const sl_flow_problems *problems, const char *path, sl_buf *out)
{
    SL_ASSERT(problems && path && out);
    for (size_t i = 0; i < problems->count; i++) {
        const sl_flow_problem *p = &problems->items[i];
        (void)sl_buf_printf(out, "%s:", path);
        if (p->line)
            (void)sl_buf_printf(out, "%u:", p->line);
        if (p->line && p->column)
            (void)sl_buf_printf(out, "%u:", p->column);
        (void)sl_buf_printf(out, " %s: ", p->warning ? "warning" : "error");
        if (p->step[0])
            (void)sl_buf_printf(out, "step %s: ", p->step);
        (void)sl_buf_printf(out, "%s\n", p->message);
    }
    if (problems->left_out)
        (void)sl_buf_printf(out, "%s: %zu more, not shown; mend these first\n", path, problems->left_out);
    return out->failed;
}
