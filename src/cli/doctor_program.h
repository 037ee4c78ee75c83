/* Checks of a program: what `sightline exec` would see of it. The program itself is not run. */
#ifndef SL_CLI_DOCTOR_PROGRAM_H
#define SL_CLI_DOCTOR_PROGRAM_H

#include "src/cli/doctor_report.h"

/* `argv0` as a shell would find it. A script is followed to what reads it. */
void sl_doctor_program(sl_doctor *doctor, const char *argv0);

#endif
