/* The tree of a compiled template: what the parser makes and rendering walks. */
#ifndef SL_FLOW_TEMPLATE_IMPL_H
#define SL_FLOW_TEMPLATE_IMPL_H

#include "src/base/arena.h"
#include "src/flow/expr_functions.h"
#include "src/flow/template.h"

typedef enum sl_tag_kind {
    SL_TAG_TEXT,
    SL_TAG_VALUE,
    SL_TAG_IF,
    SL_TAG_UNLESS,
    SL_TAG_EACH,
    SL_TAG_WITH,
    SL_TAG_SECTION /* {{#name}}: each, with or if, by what is there */
} sl_tag_kind;

typedef enum sl_term_kind { SL_TERM_PATH, SL_TERM_LITERAL, SL_TERM_CALL } sl_term_kind;

typedef struct sl_template_node sl_template_node;
typedef struct sl_template_term sl_template_term;

typedef struct sl_template_segment {
    sl_str name;
    int64_t index; /* the name as a number, or -1 */
} sl_template_segment;

/* A path, a literal, or a helper with its arguments. */
struct sl_template_term {
    uint8_t kind;
    bool data;      /* @name */
    bool relative;  /* this, ./ or ../ in front: no block parameter */
    bool from_root; /* {{this}} is the root where it stands, once it has gone up */
    uint8_t up;     /* number of ../ */
    uint8_t param;  /* number of the block parameter, when `param_block` */
    unsigned line;
    unsigned column;
    sl_str text; /* as written */
    size_t segment_count;
    sl_template_segment *segments;
    const sl_template_node *param_block;
    json_t *literal; /* borrowed from sl_template.literals */
    const sl_flow_function *function;
    size_t arg_count;
    sl_template_term **args; /* NULL where none is given */
    sl_template_term *next;  /* of sl_template.paths */
};

struct sl_template_node {
    uint8_t kind;
    uint8_t param_count;
    bool chained;      /* the inverse is one `else if` */
    bool include_zero; /* of if, unless */
    unsigned line;
    unsigned column;
    sl_str text;
    sl_template_term *term;
    sl_str params[2];
    sl_template_node *body;
    sl_template_node *inverse;
    sl_template_node *next;
};

struct sl_template {
    sl_arena arena;
    sl_str source;
    sl_template_node *root;
    sl_template_term *paths;
    json_t *literals;
};

/* Fills root, paths, literals from the source. Errors: SL_EPARSE, SL_ETOOBIG, SL_ENOMEM. */
SL_MUST_CHECK int sl_template_parse(sl_template *template, sl_flow_fault *fault);

#endif
