/* Checks of the probe: whether `sightline exec` finds libsightline-llama.so, whether programs load it, where rings go.
 */
#ifndef SL_CLI_DOCTOR_PROBE_H
#define SL_CLI_DOCTOR_PROBE_H

#include "src/cli/doctor_report.h"

void sl_doctor_probe(sl_doctor *doctor);

#endif
