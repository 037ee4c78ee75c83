/* Expressions on any bytes: no crash, bounded work, an error always told, the same result twice. */
#include "src/flow/expr.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

static void see_path(void *user, sl_str path, unsigned line, unsigned column)
{
    (void)user;
    EXPECT(path.len > 0 && line > 0 && column > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static json_t *scope;
    if (!scope)
        scope = json_loads("{\"a\":\"text\",\"n\":3,\"l\":[3,1,2],\"m\":[{\"k\":2,\"v\":\"b\"},{\"k\":1}],"
                           "\"s\":{\"\\u0001text\":\"said\",\"p\":1},\"x\":null}",
                           0, NULL);
    EXPECT(scope);
    sl_flow_fault fault = {0};
    sl_expr *expr = NULL;
    int error = sl_expr_new(sl_str_of((const char *)data, size), &fault, &expr);
    EXPECT(error ? fault.message[0] && !expr : expr != NULL);
    if (!expr)
        return 0;
    json_t *one = NULL, *two = NULL;
    error = sl_expr_eval(expr, scope, &one, &fault);
    EXPECT(error ? !one && fault.message[0] : one != NULL);
    EXPECT(sl_expr_eval(expr, scope, &two, NULL) == error);
    EXPECT(error || json_equal(one, two));
    json_decref(one);
    json_decref(two);
    sl_expr_each_path(expr, see_path, NULL);
    sl_expr_free(expr);
    return 0;
}
