/* See collection_filter_sql.h. Operands and keys are values ($1, $2, ...), never text of the statement. */
#include "src/store/collection_filter_sql.h"

#include <stdlib.h>

#include "src/llm/json_text.h"
#include "src/store/collection_filter_impl.h"

typedef struct writer {
    const sl_vector_filter *filter;
    sl_sql *sql;
    sl_filter_sql_key put_key;
    void *user;
} writer;

static void put_node(const writer *w, const sl_filter_node *n);

static void put_key(const writer *w, const sl_filter_node *n)
{
    w->put_key(w->sql, w->filter->keys[n->key], w->user);
}

/* "$N::jsonb" of the operand. */
static void put_operand(const writer *w, const sl_filter_node *n)
{
    char *text = sl_json_text(n->operand);
    if (!text)
        w->sql->failed = w->sql->failed ? w->sql->failed : SL_ENOMEM;
    sl_sql_put_value(w->sql, sl_str_c(text));
    sl_sql_put(w->sql, "::jsonb");
    free(text);
}

/* A list contains what it has as an item; anything else contains what equals it. What is missing equals null. */
static void put_match(const writer *w, const sl_filter_node *n)
{
    bool list = n->op == OP_IN || n->op == OP_NIN;
    sl_sql_put(w->sql, n->op == OP_NE || n->op == OP_NIN ? "NOT " : "");
    sl_sql_put(w->sql, list ? "EXISTS (SELECT FROM jsonb_array_elements(" : "(");
    if (list) {
        put_operand(w, n);
        sl_sql_put(w->sql, ") AS o(v) WHERE ");
    }
    sl_sql_put(w->sql, "COALESCE(");
    put_key(w, n);
    sl_sql_put(w->sql, ", 'null'::jsonb) @> ");
    if (list)
        sl_sql_put(w->sql, "o.v");
    else
        put_operand(w, n);
    sl_sql_put(w->sql, ")");
}

/* Order is among numbers, and among texts by their bytes. */
static void put_order(const writer *w, const sl_filter_node *n)
{
    static const char *const words[] = {[OP_GT] = " > ", [OP_GTE] = " >= ", [OP_LT] = " < ", [OP_LTE] = " <= "};
    bool text = json_is_string(n->operand);
    SL_ASSERT(n->op >= OP_GT && n->op <= OP_LTE);
    sl_sql_put(w->sql, "COALESCE(jsonb_typeof(");
    put_key(w, n);
    sl_sql_put(w->sql, text ? ") = 'string' AND (" : ") = 'number' AND (");
    put_key(w, n);
    sl_sql_put(w->sql, text ? " #>> '{}') COLLATE \"C\"" : ")");
    sl_sql_put(w->sql, words[n->op]);
    sl_sql_put(w->sql, text ? "(" : "");
    put_operand(w, n);
    sl_sql_put(w->sql, text ? " #>> '{}'), false)" : ", false)");
}

static void put_exists(const writer *w, const sl_filter_node *n)
{
    sl_sql_put(w->sql, "(COALESCE(");
    put_key(w, n);
    sl_sql_put(w->sql,
               json_is_true(n->operand) ? ", 'null'::jsonb) <> 'null'::jsonb)" : ", 'null'::jsonb) = 'null'::jsonb)");
}

static void put_group(const writer *w, const sl_filter_node *n)
{
    sl_sql_put(w->sql, n->op == OP_NOT ? "NOT (" : "(");
    if (!n->first)
        sl_sql_put(w->sql, "true");
    for (unsigned kid = n->first; kid; kid = w->filter->nodes[kid].next) {
        put_node(w, &w->filter->nodes[kid]);
        if (w->filter->nodes[kid].next)
            sl_sql_put(w->sql, n->op == OP_OR ? " OR " : " AND ");
    }
    sl_sql_put(w->sql, ")");
}

static void put_node(const writer *w, const sl_filter_node *n)
{
    if (n->op <= OP_NOT)
        put_group(w, n);
    else if (n->op == OP_EXISTS)
        put_exists(w, n);
    else if (n->op >= OP_GT)
        put_order(w, n);
    else
        put_match(w, n);
}

void sl_vector_filter_sql(const sl_vector_filter *filter, sl_sql *sql, sl_filter_sql_key put, void *user)
{
    SL_ASSERT(filter && sql && put);
    writer w = {filter, sql, put, user};
    put_node(&w, &filter->nodes[0]);
}

void sl_filter_sql_member(sl_sql *sql, const char *object, const char *key)
{
    SL_ASSERT(sql && object && key);
    size_t depth = 0;
    /* a.b.c: COALESCE(o->'a.b.c', COALESCE(o->'a'->'b.c', o->'a'->'b'->'c')) */
    sl_buf path;
    sl_buf_init(&path, SL_MAX_SQL_BYTES);
    (void)sl_buf_put_c(&path, object);
    const char *dot;
    for (; (dot = strchr(key, '.')) && !sl_sql_error(sql) && !path.failed; key = dot + 1, depth++) {
        sl_sql_put(sql, "COALESCE(");
        (void)sl_buf_put_str(&sql->text, sl_buf_str(&path));
        sl_sql_put(sql, "->");
        sl_sql_put_value(sql, sl_str_c(key));
        sl_sql_put(sql, "::text, ");
        (void)sl_buf_printf(&path, "->$%u::text", sl_sql_value(sql, sl_str_of(key, (size_t)(dot - key))));
    }
    (void)sl_buf_put_str(&sql->text, sl_buf_str(&path));
    sl_sql_put(sql, "->");
    sl_sql_put_value(sql, sl_str_c(key));
    sl_sql_put(sql, "::text");
    while (depth--)
        sl_sql_put(sql, ")");
    if (path.failed && !sql->failed)
        sql->failed = path.failed;
    sl_buf_done(&path);
}
