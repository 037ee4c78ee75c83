/*
 * What steps may use, made once per process by the command and handed to the executor. Whoever runs workflows decides
 * what they may touch.
 */
#ifndef SL_FLOW_SERVICES_H
#define SL_FLOW_SERVICES_H

#include "src/llm/client.h"
#include "src/net/loop.h"

typedef struct sl_collections sl_collections; /* src/store/collection.h: vectors, in-process exact search */
typedef struct sl_pgvector sl_pgvector;       /* src/store/pgvector.h: searches in a PostgreSQL server */
typedef struct sl_queue sl_queue;

#define SL_FLOW_MAX_ALLOWED 64
/* Member of a Qdrant point's payload: the id of its row, where Qdrant could not have it for its own. */
#define SL_QDRANT_ID "sightline_id"

/* An action of the name of a webhook calls it. */
typedef struct sl_flow_webhook {
    const char *name;
    const char *url;
    const char *secret; /* of the signature; may be NULL */
} sl_flow_webhook;

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
    const sl_flow_webhook *webhooks; /* actions by name, and the secrets of those that are called by URL */
    size_t webhook_count;
    const char *qdrant_url; /* of database "qdrant"; NULL: the in-process engine serves it */
    const char *qdrant_key; /* may be NULL */
    sl_pgvector *pgvector;  /* of database "pgvector"; NULL: the in-process engine serves it */
    void *memory;           /* of services_env.h */
} sl_flow_services;

#endif
