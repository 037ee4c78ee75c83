/* A compiled filter's inside: for the files that say it in the words of other databases. */
#ifndef SL_STORE_COLLECTION_FILTER_IMPL_H
#define SL_STORE_COLLECTION_FILTER_IMPL_H

#include "src/store/collection_filter.h"

typedef enum sl_filter_op {
    OP_AND = 0,
    OP_OR,
    OP_NOT,
    OP_EQ,
    OP_NE,
    OP_IN,
    OP_NIN,
    OP_GT,
    OP_GTE,
    OP_LT,
    OP_LTE,
    OP_EXISTS
} sl_filter_op;

typedef struct sl_filter_node {
    sl_filter_op op;
    unsigned key;    /* comparisons: index of the key */
    json_t *operand; /* comparisons; a reference */
    unsigned first;  /* groups: index of the first kid; 0: none */
    unsigned next;   /* of the same parent; 0: none */
} sl_filter_node;

struct sl_vector_filter {
    sl_filter_node *nodes; /* 0 is the root */
    unsigned node_count, node_cap;
    char **keys;
    unsigned key_count, key_cap;
    char *reason;
};

#endif
