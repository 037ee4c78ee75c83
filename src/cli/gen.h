/*
 * What `sightline gen` prints for those who run Sightline: Prometheus rules, Grafana dashboards, Kubernetes manifests,
 * a compose file for llama.cpp.
 * The committed files under deploy/ are the same texts; a test fails when one is stale. No I/O.
 */
#ifndef SL_CLI_GEN_H
#define SL_CLI_GEN_H

#include "src/base/buf.h"

/* A kind of files. */
typedef struct sl_gen_kind {
    const char *name;   /* "prometheus-rules" */
    const char *folder; /* in deploy/ */
    size_t (*count)(void);
    const char *(*item)(size_t index); /* name of one, such as "s1" */
    const char *(*file)(size_t index); /* its file */
    /* Appends the text of one file. Errors: SL_ENOMEM, the buffer's. */
    int (*print)(size_t index, sl_buf *out);
    /* Appends all of them as one text. */
    int (*print_all)(sl_buf *out);
} sl_gen_kind;

extern const sl_gen_kind sl_gen_rules;
extern const sl_gen_kind sl_gen_dashboards;
extern const sl_gen_kind sl_gen_kubernetes;
extern const sl_gen_kind sl_gen_compose;

/* All kinds, ended by NULL. */
extern const sl_gen_kind *const sl_gen_kinds[];

/*
 * Whether a query names nothing but metrics of the vocabulary tables and of SL_FOREIGN_METRIC; `ret_name` (of `size`
 * bytes) gets the first other name.
 */
bool sl_gen_query_is_known(const char *query, char *ret_name, size_t size);

/* Every query of rules and dashboards. NULL behind the last. */
const char *sl_gen_query_at(size_t index);

#endif
