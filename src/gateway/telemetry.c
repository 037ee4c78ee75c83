/* stub */
#include "src/gateway/telemetry.h"
int sl_gw_telemetry_new(sl_sdk *sdk, sl_gw_telemetry **r){(void)sdk;*r=NULL;return 0;}
void sl_gw_telemetry_free(sl_gw_telemetry *t){(void)t;}
void sl_gw_bound_free(sl_gw_bound *b){(void)b;}
void sl_gw_trace_start(sl_gw_request *r, const sl_http1_head *h, sl_str p){(void)r;(void)h;(void)p;}
void sl_gw_trace_routed(sl_gw_request *r){(void)r;}
void sl_gw_trace_attempt(sl_gw_request *r){(void)r;}
void sl_gw_trace_first(sl_gw_request *r, uint64_t n){(void)r;(void)n;}
void sl_gw_trace_frame(sl_gw_request *r, uint64_t n){(void)r;(void)n;}
void sl_gw_trace_attempt_end(sl_gw_request *r, int s, const char *e, const char *m){(void)r;(void)s;(void)e;(void)m;}
void sl_gw_trace_end(sl_gw_request *r){(void)r;}
void sl_gw_trace_refused(sl_gateway *g, int s){(void)g;(void)s;}
void sl_gw_trace_connection(sl_gateway *g, int c){(void)g;(void)c;}
void sl_gw_trace_inject(sl_gw_request *r, sl_buf *h){(void)r;(void)h;}
bool sl_gw_trace_baggage(const sl_gateway *g){(void)g;return true;}
