/*
 * What steps may use, made once per process by the command and handed to the executor. Whoever runs workflows decides
 * what they may touch.
 */
#ifndef SL_FLOW_SERVICES_H
#define SL_FLOW_SERVICES_H

#include "src/llm/client.h"
#include "src/net/loop.h"

typedef struct sl_collections sl_collections; /* src/store/collection.h: vectors, in-process exact search */
typedef struct sl_queue sl_queue;

#define SL_FLOW_MAX_ALLOWED 64

typedef struct sl_flow_services {
    sl_loop *loop;
    sl_sdk *sdk;                                   /* may be NULL */
    sl_llm_client *llm;                            /* may be NULL: llm and embed steps fail */
    sl_upstream *upstream;                         /* for action http and webhook */
    sl_collections *collections;                   /* may be NULL */
    sl_queue *queue;                               /* may be NULL: queue publish fails */
    const char *file_root;                         /* action file stays under it; NULL: forbidden */
    const char *exec_allowed[SL_FLOW_MAX_ALLOWED]; /* absolute paths of programs; none: exec is forbidden */
    size_t exec_allowed_count;
    const char *http_allowed[SL_FLOW_MAX_ALLOWED]; /* HOST or HOST:PORT globs; none: any host but link-local and
                                                      metadata addresses */
    size_t http_allowed_count;
} sl_flow_services;

#endif
