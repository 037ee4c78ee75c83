/*
 * Checks of the environment, as the SDK would read it: bad values, exporters and endpoints, sampling, log level, names
 * that nobody reads; and of the machine: descriptors, the folder of metric files.
 *
 * Values that can hold secrets (keys, headers) are never shown, only whether they are set.
 */
#ifndef SL_CLI_DOCTOR_ENV_H
#define SL_CLI_DOCTOR_ENV_H

#include "src/cli/doctor_report.h"
#include "src/telemetry/env.h"

/* All checks that need no network. */
void sl_doctor_environment(sl_doctor *doctor, const sl_env *env);
/* Variables of `environ` (NULL-terminated NAME=VALUE) in Sightline's own name spaces that nothing reads. */
void sl_doctor_unknown_names(sl_doctor *doctor, char *const *environment);
/* Limit of descriptors. */
void sl_doctor_descriptors(sl_doctor *doctor);
/* PROMETHEUS_MULTIPROC_DIR, when set. */
void sl_doctor_multiproc(sl_doctor *doctor, const sl_env *env);
/* Endpoints of the exporters: can they be connected to within `timeout_ms`? */
void sl_doctor_endpoints(sl_doctor *doctor, const sl_env *env, uint64_t timeout_ms);

#endif
