/*
 * SIGHUP: which settings of the configuration file stay as they were at the start, so that the user is told. Models,
 * keys and prices, limits and timeouts of the gateway take effect at once; listeners, processes and health checks do
 * not. No I/O.
 */
#ifndef SL_CLI_RELOAD_H
#define SL_CLI_RELOAD_H

#include "src/cli/server_options.h"

/* Bit n below SL_LISTENER_COUNT: listener n. */
enum {
    SL_KEPT_WORKERS = 1u << SL_LISTENER_COUNT,
    SL_KEPT_DRAIN_TIMEOUT = 1u << (SL_LISTENER_COUNT + 1),
    SL_KEPT_HEALTH_CHECKS = 1u << (SL_LISTENER_COUNT + 2),
    SL_KEPT_BITS = SL_LISTENER_COUNT + 3
};

/* What `fresh` has otherwise than the configuration of the start, of the settings that only a start reads. */
unsigned sl_reload_kept(const sl_config *start, const sl_config *fresh);

/* Name of one of the settings (a single bit), as it stands in the file: "sightline.workers". Static. */
const char *sl_reload_setting(unsigned bit);

#endif
