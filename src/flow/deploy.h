/*
 * A deployment file: which services there are under one name, and who runs them. LlamaDeploy's format, of its last two
 * generations, as it is.
 *
 * A service is a workflow file of ours (its path ends in .yaml, .yml or .json: run here), an HTTP service (its path is
 * a URL: the inputs are posted to it), or a program that takes its tasks from the queue by itself (any other path,
 * `module:attr`; or none). What only says how LlamaDeploy would start
 * a program (dependencies, env, host, port) is read over.
 */
#ifndef SL_FLOW_DEPLOY_H
#define SL_FLOW_DEPLOY_H

#include "src/llm/config.h"

#define SL_DEPLOY_MAX_SERVICES 64
#define SL_DEPLOY_MAX_BYTES (256u * 1024)

typedef enum sl_service_kind { SL_SERVICE_WORKFLOW = 0, SL_SERVICE_HTTP, SL_SERVICE_WORKER } sl_service_kind;

typedef struct sl_deploy_service {
    sl_str id;   /* the key; what tasks name as service_id */
    sl_str name; /* for people */
    sl_service_kind kind;
    sl_str path;     /* of a workflow: as in the file */
    sl_str location; /* of its source: a folder, relative to the deployment's; may be empty */
    sl_str host;
    uint16_t port; /* 0: not given */
    unsigned line;
} sl_deploy_service;

/* All views are NUL-terminated and live as long as the file. */
typedef struct sl_deploy_file {
    sl_config *memory; /* diagnostics and strings */
    sl_str name;
    sl_str default_service; /* empty: none */
    sl_deploy_service *services;
    size_t service_count;
} sl_deploy_file;

/*
 * Reads it. `*ret_file` is set also when there are faults in it (memory->error_count), so that they can be told.
 * Errors: SL_ETOOBIG, SL_ENOMEM; SL_ECONFIG with `*ret_file` set. Ownership: sl_deploy_free.
 */
SL_MUST_CHECK int sl_deploy_parse(sl_str text, sl_deploy_file **ret_file);
/* NULL is accepted. */
void sl_deploy_free(sl_deploy_file *file);

/* The kind of service that a path names. */
sl_service_kind sl_deploy_kind(sl_str path);

#endif
