/* Checks of the probe: whether `sightline exec` finds libsightline-llama.so, whether programs load it, where rings go.
 */
#ifndef SL_CLI_DOCTOR_PROBE_H
#define SL_CLI_DOCTOR_PROBE_H

#include "src/cli/doctor_report.h"

void sl_doctor_probe(sl_doctor *doctor);

/*
 * Runs a program for at most some seconds, with `preload` (NULL: as this one was) loaded into it; `text` gets what it
 * says, on both outputs, as far as it fits. Returns its length.
 */
size_t sl_doctor_capture(char *const argv[], const char *preload, char *text, size_t size);

#endif
