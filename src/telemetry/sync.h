/* Deadlines, condition variables and threads: src/base/sync.h. */
#ifndef SL_TELEMETRY_SYNC_H
#define SL_TELEMETRY_SYNC_H

#include "src/base/sync.h" // IWYU pragma: export

#endif
