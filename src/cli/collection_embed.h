/* Vectors of texts for commands: one request at a time, waited for. Providers as workflows know them, from the
 * environment. */
#ifndef SL_CLI_COLLECTION_EMBED_H
#define SL_CLI_COLLECTION_EMBED_H

#include <jansson.h>

#include "src/base/str.h"

#define SL_EMBED_REASON 400

typedef struct sl_embedder sl_embedder;

/* `model` is PROVIDER/MODEL. `reason` (SL_EMBED_REASON bytes) says what is wrong. Errors: SL_EINVAL, SL_ENOMEM. */
SL_MUST_CHECK int sl_embedder_new(sl_str model, char *reason, sl_embedder **ret_embedder);
/* NULL is accepted. */
void sl_embedder_free(sl_embedder *embedder);
/* A list of vectors, one for each text, with a reference. Errors: the call's; SL_EPROTO (not as many as texts). */
SL_MUST_CHECK int sl_embedder_embed(sl_embedder *embedder, json_t *texts, char *reason, json_t **ret_vectors);

#endif
