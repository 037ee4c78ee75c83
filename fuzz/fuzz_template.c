/* Templates and conditions on any bytes: no crash, bounded work, results that are UTF-8, an error always told. */
#include <stdlib.h>

#include "src/flow/expr.h"
#include "src/flow/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

static json_t *context;

static void see_path(void *user, sl_str path, unsigned line, unsigned column)
{
    (void)user;
    EXPECT(path.len > 0 && line > 0 && column > 0);
}

static void render(const sl_template *template)
{
    sl_flow_fault fault = {0};
    sl_buf out;
    sl_buf_init(&out, 1u << 20);
    int error = sl_template_render(template, context, &out, &fault);
    EXPECT(error == 0 || (error == SL_ETOOBIG && fault.message[0]));
    EXPECT(error || sl_utf8_valid(sl_buf_str(&out)));
    json_t *value = NULL;
    if (sl_template_value(template, context, &value, &fault) == 0)
        EXPECT(value);
    json_decref(value);
    sl_template_each_path(template, see_path, NULL);
    sl_buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!context)
        context = json_loads(
            "{\"a\":\"text\",\"n\":3,\"l\":[1,\"two\",{\"x\":[3]}],\"o\":{\"k\":1,\"m\":{\"x\":2}},\"t\":true,"
            "\"s\":{\"\\u0001text\":\"said\",\"p\":1},\"e\":[]}",
            0, NULL);
    EXPECT(context);
    sl_str text = sl_str_of((const char *)data, size);
    sl_flow_fault fault = {0};
    sl_template *template = NULL;
    int error = sl_template_new(text, &fault, &template);
    EXPECT(error ? fault.message[0] && !template : template != NULL);
    if (template)
        render(template);
    sl_template_free(template);
    sl_condition *condition = NULL;
    bool holds;
    if (sl_condition_new(text, &fault, &condition) == 0) {
        error = sl_condition_eval(condition, context, &holds, &fault);
        EXPECT(error == 0 || error == SL_ETOOBIG);
    }
    sl_condition_free(condition);
    return 0;
}
