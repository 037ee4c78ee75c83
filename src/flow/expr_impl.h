/* The tree of a compiled expression: what the parser makes and the evaluator walks. */
#ifndef SL_FLOW_EXPR_IMPL_H
#define SL_FLOW_EXPR_IMPL_H

#include "src/base/arena.h"
#include "src/flow/expr.h"
#include "src/flow/expr_functions.h"

typedef enum sl_expr_op {
    SL_OP_NONE = 0,
    SL_OP_OR,
    SL_OP_AND,
    SL_OP_EQ,
    SL_OP_NE,
    SL_OP_LE,
    SL_OP_GE,
    SL_OP_LT,
    SL_OP_GT,
    SL_OP_IN,
    SL_OP_ADD,
    SL_OP_SUB,
    SL_OP_MUL,
    SL_OP_DIV,
    SL_OP_MOD,
    SL_OP_NOT,
    SL_OP_NEG
} sl_expr_op;

typedef enum sl_expr_kind {
    SL_EXPR_LITERAL, /* literal */
    SL_EXPR_NAME,    /* text, in the scope */
    SL_EXPR_LOCAL,   /* local: a lambda's parameter */
    SL_EXPR_CHAIN,   /* kids from left to right; each but the first has `op` */
    SL_EXPR_UNARY,   /* op, one kid */
    SL_EXPR_CHOICE,  /* three kids */
    SL_EXPR_ACCESS,  /* first kid, then SL_EXPR_MEMBER and SL_EXPR_INDEX */
    SL_EXPR_MEMBER,  /* text */
    SL_EXPR_INDEX,   /* one kid */
    SL_EXPR_LIST,    /* kids */
    SL_EXPR_OBJECT,  /* kids, each with its key in `text` */
    SL_EXPR_CALL,    /* function, kids */
    SL_EXPR_LAMBDA   /* local: first of `count` parameters; one kid */
} sl_expr_kind;

typedef struct sl_expr_node sl_expr_node;
struct sl_expr_node {
    uint8_t kind;
    uint8_t op;    /* of SL_EXPR_UNARY; of a kid of a chain: what joins it to the one before */
    uint8_t local; /* number of a lambda's parameter */
    uint8_t count; /* parameters, kids of a call */
    unsigned line;
    unsigned column;
    sl_str text;
    json_t *literal; /* borrowed from sl_expr.literals */
    const sl_flow_function *function;
    sl_expr_node *kids;
    sl_expr_node *next;
};

#define SL_EXPR_LOCALS 32 /* parameters of lambdas within one another */

typedef struct sl_expr_path sl_expr_path;
struct sl_expr_path {
    sl_str text;
    unsigned line;
    unsigned column;
    sl_expr_path *next;
};

struct sl_expr {
    sl_arena arena;
    sl_str source;
    sl_expr_node *root;
    sl_expr_path *paths;
    json_t *literals;
    bool builds; /* it makes lists or objects, whose size is to be checked */
};

/* Fills root, paths, literals from the source. Errors: SL_EPARSE, SL_ETOOBIG, SL_ENOMEM. */
SL_MUST_CHECK int sl_expr_parse(sl_expr *expr, sl_flow_fault *fault);

#endif
