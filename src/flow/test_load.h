/* What the tests of loading share: a text in, the problems as one text out. */
#ifndef SL_FLOW_TEST_LOAD_H
#define SL_FLOW_TEST_LOAD_H

#include "src/base/mem.h"
#include "src/flow/model.h"
#include "tests/harness/sl_test.h"

/* Counts what JSON values take as well, and lets it fail. */
__attribute__((constructor)) static void count_json(void)
{
    json_set_alloc_funcs(sl_malloc, sl_free);
}

/* The problems of a text, as validate prints them; "" when there are none. To be freed by sl_buf_done. */
static inline sl_str problems_of(const sl_flow_problems *problems, sl_buf *out)
{
    sl_buf_init(out, 1u << 20);
    CHECK_EQ(sl_flow_problems_format(problems, "f", out), 0);
    return sl_buf_str(out);
}

/* Loads a text and compares what is said about it; the flow, or NULL. */
static inline sl_flow *load_expect(const char *file, int line, const char *text, int error, const char *said)
{
    static sl_flow_problems problems;
    sl_flow *flow = NULL;
    sl_buf out;
    int got = sl_flow_load(sl_str_c(text), &problems, &flow);
    sl_test_check_eq(file, line, "error", got, error);
    sl_test_check_str(file, line, "problems", problems_of(&problems, &out), sl_str_c(said));
    sl_test_check_eq(file, line, "there is a flow", flow != NULL, error == 0);
    sl_buf_done(&out);
    return flow;
}
#define LOAD(text, error, said) load_expect(__FILE__, __LINE__, text, error, said)

#endif
