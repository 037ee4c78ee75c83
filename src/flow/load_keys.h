/*
 * The keys of workflow files as a table: names, types, defaults, ranges and help.
 */
#ifndef SL_FLOW_LOAD_KEYS_H
#define SL_FLOW_LOAD_KEYS_H

#include "src/flow/model.h"

typedef enum sl_flow_key_type {
    SL_FLOW_WORD = 0,   /* text as it stands: ids, names */
    SL_FLOW_WORDS,      /* one such, or a list */
    SL_FLOW_TEXT,       /* text with templates; numbers and truth values are taken as text */
    SL_FLOW_TEXTS,      /* the same, or a list of anything */
    SL_FLOW_WHOLE,      /* whole number within a range; or a template */
    SL_FLOW_NUMBER,     /* number within a range; or a template */
    SL_FLOW_SECONDS,    /* number of seconds within a range */
    SL_FLOW_BOOL,       /* true or false; or a template */
    SL_FLOW_LIST,       /* list; or a template */
    SL_FLOW_MAP,        /* map */
    SL_FLOW_ANY,        /* anything */
    SL_FLOW_KIND,       /* type of a step */
    SL_FLOW_BACKOFF,    /* word of sl_backoff */
    SL_FLOW_FUNCTION,   /* name of a transform; or a template */
    SL_FLOW_CONDITION,  /* sl_condition */
    SL_FLOW_EXPRESSION, /* sl_expr */
    SL_FLOW_SECTION,    /* map with keys of the section that has the key's name */
    SL_FLOW_STEPS,      /* list of steps or ids, one step, one id */
    SL_FLOW_BRANCHES    /* map of names to steps */
} sl_flow_key_type;

typedef struct sl_flow_key {
    const char *section; /* "workflow", "step", "retry", or the type of the step */
    const char *name;
    sl_flow_key_type type;
    bool required;
    const char *fallback; /* "": none */
    double min, max;      /* both 0: no range */
    const char *help;
} sl_flow_key;

/* All keys, by section. Static. */
const sl_flow_key *sl_flow_keys(size_t *ret_count);
/* NULL when the section has no such key. */
const sl_flow_key *sl_flow_key_of(const char *section, sl_str name);
/* Type of a key for people: "whole number". Static. */
const char *sl_flow_key_type_name(sl_flow_key_type type);

/* Functions of transform steps, beside those of expressions: transforms.def. */
typedef struct sl_transform_def {
    const char *name;
    const char *help;
} sl_transform_def;
const sl_transform_def *sl_transform_defs(size_t *ret_count);

/* The type of a step by its name ("map" is a loop). False when there is none. */
bool sl_step_type_of(sl_str name, sl_step_type *ret_type);

#endif
