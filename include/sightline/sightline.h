/* Everything of libsightline. */
#ifndef SIGHTLINE_SIGHTLINE_H
#define SIGHTLINE_SIGHTLINE_H

#include <sightline/base.h>
#include <sightline/context.h>
#include <sightline/flow.h>
#include <sightline/health.h>
#include <sightline/log.h>
#include <sightline/metrics.h>
#include <sightline/sdk.h>
#include <sightline/trace.h>
#include <sightline/value.h>

#endif
