/* Checks that go over the network: do the listeners answer, and is what answers Sightline? */
#ifndef SL_CLI_DOCTOR_NET_H
#define SL_CLI_DOCTOR_NET_H

#include "src/cli/doctor_report.h"

#define SL_DOCTOR_REASON_MAX 256

/* Where the listeners are; empty: off. Base URLs without a slash at the end. */
typedef struct sl_doctor_targets {
    const char *gateway;
    const char *metrics;
    const char *health;
    const char *admin;
    sl_str key;
    uint64_t timeout_ms;
    const char *api, *control, *queue; /* of the flow plane; NULL: not looked at */
    sl_str flow_key;                   /* empty: none */
    bool gateway_spare;                /* nobody said where the gateway is: it may be away when a flow server answers */
    bool flow_spare;                   /* nobody said where the flow server is: it may be away */
} sl_doctor_targets;

/* Connects and closes. Errors: SL_ERESOLVE, SL_ECONNECT, SL_ETIMEOUT; `reason` (SL_DOCTOR_REASON_MAX bytes) says why.
 */
SL_MUST_CHECK int sl_doctor_connect(sl_str host, uint16_t port, uint64_t timeout_ms, char *reason);
void sl_doctor_listeners(sl_doctor *doctor, const sl_doctor_targets *targets);
/* Judges a metrics page: readable, no series twice, Sightline's own, nothing lost on the way to a backend. */
void sl_doctor_metrics_page(sl_doctor *doctor, const char *url, sl_str content_type, sl_str page);

#endif
