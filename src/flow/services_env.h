/*
 * What the environment says that steps may use: for every command that runs workflows. What is set already, by options
 * or a file, stays.
 *
 * SIGHTLINE_STEP_FILE_ROOT  folder of action file
 * SIGHTLINE_STEP_EXEC       programs of action exec, by their absolute paths, commas between them
 * SIGHTLINE_STEP_HOSTS      HOST or HOST:PORT, with * and ?, that action http may call, commas between them
 * SIGHTLINE_WEBHOOKS        NAME=URL, spaces between them: actions of these names call the webhooks
 * SIGHTLINE_WEBHOOK_SECRET  signs what is posted to them
 * QDRANT_URL, QDRANT_API_KEY
 * PGVECTOR_URL              postgres://... or a connection string of libpq
 */
#ifndef SL_FLOW_SERVICES_ENV_H
#define SL_FLOW_SERVICES_ENV_H

#include "src/flow/services.h"

#define SL_SERVICES_REASON 300

/* `reason` (SL_SERVICES_REASON bytes) is "NAME: what is wrong; remedy". Errors: SL_ECONFIG, SL_ENOMEM. */
SL_MUST_CHECK int sl_flow_services_from_env(sl_flow_services *services, char *reason);
/* Frees what it took. All zero is fine. */
void sl_flow_services_done(sl_flow_services *services);

#endif
