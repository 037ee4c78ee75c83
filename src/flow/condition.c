/*
 * Conditions of steps. Operators are found in the condition as it is written, never in what a template gives: a text of
 * a model that contains "==" or "||" is compared, not understood.
 */
#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/flow/expr.h"
#include "src/flow/expr_value.h"
#include "src/flow/template.h"

typedef enum comparison {
    COMPARE_NONE,
    COMPARE_EQ,
    COMPARE_NE,
    COMPARE_LE,
    COMPARE_GE,
    COMPARE_LT,
    COMPARE_GT
} comparison;

/* left [op right]; joined to the one before by && or ||. */
typedef struct part {
    sl_template *left;
    sl_template *right; /* NULL without a comparison */
    comparison compare;
    bool starts_or; /* || stands before it */
} part;

#define MAX_PARTS 64

struct sl_condition {
    size_t count;
    part parts[MAX_PARTS];
};

typedef struct operator_rule {
    const char *text;
    comparison compare;
} operator_rule;

static const operator_rule rules[] = {
    {"==", COMPARE_EQ}, {"!=", COMPARE_NE}, {"<=", COMPARE_LE},
    {">=", COMPARE_GE}, {"<", COMPARE_LT},  {">", COMPARE_GT},
};

/* ---- reading ---- */

/* Length of the tag at the front, or 0 when there is none: its strings and comments are passed over. */
static size_t tag_length(sl_str s, int *depth)
{
    if (!sl_str_starts(s, SL_STR("{{")))
        return 0;
    size_t braces = sl_str_starts(s, SL_STR("{{{")) ? 3 : 2, at = braces;
    sl_str body = sl_str_sub(s, 2, s.len);
    while (body.len && (body.ptr[0] == '~' || body.ptr[0] == '{'))
        body = sl_str_sub(body, 1, body.len);
    *depth +=
        sl_str_starts(body, SL_STR("#")) || (sl_str_starts(body, SL_STR("^")) && !sl_str_starts(body, SL_STR("^}")));
    *depth -= sl_str_starts(body, SL_STR("/"));
    bool comment = sl_str_starts(body, SL_STR("!"));
    char quote = '\0';
    for (; at < s.len; at++) {
        char c = s.ptr[at];
        if (!comment && (quote ? c == quote : c == '"' || c == '\''))
            quote = quote ? '\0' : c;
        else if (!quote && sl_str_starts(sl_str_sub(s, at, 3), braces == 3 ? SL_STR("}}}") : SL_STR("}}")))
            return at + braces;
    }
    return s.len;
}

/* Length of the quoted text at the front, or 1 when the quote does not end. */
static size_t quoted_length(sl_str s)
{
    size_t end = sl_str_chr(sl_str_sub(s, 1, s.len), s.ptr[0]);
    return end == SL_NPOS ? 1 : end + 2;
}

/*
 * The first place outside of tags, blocks and quotes where `is_end` says how long an operator is; SL_NPOS: none. A
 * quote counts where an operand may begin: "it's" has none.
 */
static size_t find_operator(sl_str s, size_t (*is_end)(sl_str rest), size_t *ret_len)
{
    int depth = 0;
    bool fresh = true;
    for (size_t at = 0; at < s.len;) {
        sl_str rest = sl_str_sub(s, at, s.len);
        size_t tag = tag_length(rest, &depth), len = depth > 0 || tag ? 0 : is_end(rest);
        if (len) {
            *ret_len = len;
            return at;
        }
        bool quote = !tag && fresh && depth <= 0 && (s.ptr[at] == '"' || s.ptr[at] == '\'');
        size_t step = tag ? tag : quote ? quoted_length(rest) : 1;
        fresh = !tag && !quote && sl_str_chr(SL_STR(" \t\r\n=<>&|!"), s.ptr[at]) != SL_NPOS;
        at += step;
    }
    return SL_NPOS;
}

static size_t is_join(sl_str rest)
{
    return sl_str_starts(rest, SL_STR("&&")) || sl_str_starts(rest, SL_STR("||")) ? 2 : 0;
}

static const operator_rule *rule_at(sl_str rest)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (sl_str_starts(rest, sl_str_c(rules[i].text)))
            return &rules[i];
    return NULL;
}

static size_t is_comparison(sl_str rest)
{
    const operator_rule *rule = rule_at(rest);
    return rule ? strlen(rule->text) : 0;
}

static sl_str trim(sl_str s)
{
    while (s.len && sl_str_chr(SL_STR(" \t\r\n\v\f"), s.ptr[0]) != SL_NPOS)
        s = sl_str_sub(s, 1, s.len);
    while (s.len && sl_str_chr(SL_STR(" \t\r\n\v\f"), s.ptr[s.len - 1]) != SL_NPOS)
        s.len--;
    return s;
}

static sl_str unquote(sl_str s)
{
    if (s.len >= 2 && (s.ptr[0] == '"' || s.ptr[0] == '\'') && s.ptr[s.len - 1] == s.ptr[0])
        return sl_str_sub(s, 1, s.len - 2);
    return s;
}

/* inputs.enabled, as people write it without braces. */
static bool is_bare_path(sl_str s)
{
    static const char *const roots[] = {"inputs.", "input.", "steps.", "outputs.", "workflow.", "item."};
    bool known = false;
    for (size_t i = 0; i < sizeof roots / sizeof *roots; i++)
        known = known || sl_str_starts(s, sl_str_c(roots[i]));
    for (size_t i = 0; known && i < s.len; i++) {
        char c = s.ptr[i];
        known = sl_ascii_lower(c) != c || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strchr("._-[]", c);
    }
    return known;
}

static void shift_fault(sl_flow_fault *fault, sl_str whole, const char *at)
{
    if (!fault || !fault->line)
        return;
    unsigned lines = 0, column = 0;
    for (const char *c = whole.ptr; c < at; c++) {
        column = *c == '\n' ? 0 : column + 1;
        lines += *c == '\n';
    }
    if (fault->line == 1)
        fault->column += column;
    fault->line += lines;
}

static int compile_operand(sl_str whole, sl_str text, sl_flow_fault *fault, sl_template **ret_template)
{
    text = trim(text);
    int error;
    if (is_bare_path(text)) {
        sl_buf braced;
        sl_buf_init(&braced, SL_MAX_TEMPLATE_BYTES);
        (void)sl_buf_put_c(&braced, "{{");
        (void)sl_buf_put_str(&braced, text);
        (void)sl_buf_put_c(&braced, "}}");
        error = braced.failed ? SL_ENOMEM : sl_template_new(sl_buf_str(&braced), fault, ret_template);
        sl_buf_done(&braced);
    } else {
        error = sl_template_new(unquote(text), fault, ret_template);
    }
    if (error && whole.len)
        shift_fault(fault, whole, text.ptr);
    return error;
}

static int compile_part(sl_str whole, sl_str text, sl_flow_fault *fault, part *p)
{
    size_t len = 0, at = find_operator(text, is_comparison, &len);
    int error = compile_operand(whole, sl_str_sub(text, 0, at), fault, &p->left);
    if (error || at == SL_NPOS)
        return error;
    p->compare = rule_at(sl_str_sub(text, at, text.len))->compare;
    return compile_operand(whole, sl_str_sub(text, at + len, text.len), fault, &p->right);
}

static int compile(sl_str text, sl_flow_fault *fault, sl_condition *c)
{
    sl_str rest = text;
    bool starts_or = false;
    for (;;) {
        size_t len = 0, at = find_operator(rest, is_join, &len);
        if (c->count == MAX_PARTS) {
            sl_flow_fault_set(fault, 1, 1, "the condition has more than %d parts", MAX_PARTS);
            return SL_ETOOBIG;
        }
        sl_str piece = sl_str_sub(rest, 0, at);
        if ((at != SL_NPOS || c->count) && !trim(piece).len) {
            sl_flow_fault_set(fault, 1, 1, "a part of the condition is empty");
            shift_fault(fault, text, piece.ptr);
            return SL_EPARSE;
        }
        part *p = &c->parts[c->count++];
        p->starts_or = starts_or;
        int error = compile_part(text, piece, fault, p);
        if (error || at == SL_NPOS)
            return error;
        starts_or = rest.ptr[at] == '|';
        rest = sl_str_sub(rest, at + len, rest.len);
    }
}

int sl_condition_new(sl_str text, sl_flow_fault *fault, sl_condition **ret_condition)
{
    SL_ASSERT(ret_condition);
    if (text.len > SL_MAX_EXPR_BYTES) {
        sl_flow_fault_set(fault, 0, 0, "the condition is longer than %u bytes", SL_MAX_EXPR_BYTES);
        return SL_ETOOBIG;
    }
    sl_condition *c = sl_calloc(1, sizeof *c);
    if (!c)
        return SL_ENOMEM;
    int error = compile(text.ptr ? text : SL_STR(""), fault, c);
    if (error) {
        sl_condition_free(c);
        return error;
    }
    *ret_condition = c;
    return 0;
}

void sl_condition_free(sl_condition *condition)
{
    if (!condition)
        return;
    for (size_t i = 0; i < condition->count; i++) {
        sl_template_free(condition->parts[i].left);
        sl_template_free(condition->parts[i].right);
    }
    sl_free(condition);
}

/* ---- evaluation ---- */

static bool text_holds(sl_str s)
{
    static const char *const no[] = {"false", "0", "no", ""};
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (sl_str_ieq(s, sl_str_c(no[i])))
            return false;
    return true;
}

static bool in_order(comparison compare, sl_str a, sl_str b)
{
    double x, y;
    int order;
    if (sl_str_to_double(a, &x) == 0 && sl_str_to_double(b, &y) == 0) {
        order = (x > y) - (x < y);
    } else {
        size_t len = a.len < b.len ? a.len : b.len;
        order = len ? memcmp(a.ptr, b.ptr, len) : 0;
        order = order ? order : (a.len > b.len) - (a.len < b.len);
    }
    return compare == COMPARE_LT   ? order < 0
           : compare == COMPARE_LE ? order <= 0
           : compare == COMPARE_GT ? order > 0
                                   : order >= 0;
}

static int part_holds(const part *p, json_t *context, bool *ret_holds, sl_flow_fault *fault)
{
    sl_buf left, right;
    sl_buf_init(&left, SL_MAX_TEMPLATE_OUTPUT_BYTES);
    sl_buf_init(&right, SL_MAX_TEMPLATE_OUTPUT_BYTES);
    int error = sl_template_render(p->left, context, &left, fault);
    if (!error && p->right)
        error = sl_template_render(p->right, context, &right, fault);
    sl_str a = trim(sl_buf_str(&left)), b = trim(sl_buf_str(&right));
    if (!error && !p->right)
        *ret_holds = text_holds(a);
    else if (!error && (p->compare == COMPARE_EQ || p->compare == COMPARE_NE))
        *ret_holds = sl_str_eq(unquote(a), unquote(b)) == (p->compare == COMPARE_EQ);
    else if (!error)
        *ret_holds = in_order(p->compare, unquote(a), unquote(b));
    sl_buf_done(&left);
    sl_buf_done(&right);
    return error;
}

int sl_condition_eval(const sl_condition *condition, json_t *context, bool *ret_holds, sl_flow_fault *fault)
{
    SL_ASSERT(condition && ret_holds && condition->count > 0);
    bool all = true; /* of the parts since the last || */
    for (size_t i = 0; i < condition->count; i++) {
        const part *p = &condition->parts[i];
        if (p->starts_or && all)
            break;
        if (p->starts_or)
            all = true;
        if (!all)
            continue;
        int error = part_holds(p, context, &all, fault);
        if (error)
            return error;
    }
    *ret_holds = all;
    return 0;
}

void sl_condition_each_path(const sl_condition *condition,
                            void (*fn)(void *user, sl_str path, unsigned line, unsigned column), void *user)
{
    SL_ASSERT(condition && fn);
    for (size_t i = 0; i < condition->count; i++) {
        sl_template_each_path(condition->parts[i].left, fn, user);
        if (condition->parts[i].right)
            sl_template_each_path(condition->parts[i].right, fn, user);
    }
}
