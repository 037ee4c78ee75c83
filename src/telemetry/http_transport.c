/* Choosing a transport, and the one over libc alone. */
#include "src/telemetry/http_transport.h"

#include <stdio.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/base/sync.h"
#include "src/telemetry/exporter_factory.h"
#include "src/wire/redact.h"

#define SHOWN_URL 160

typedef struct lite {
    sl_http_transport transport; /* first */
    sl_http_post *client;
} lite;

const char *sl_exporter_user_agent(void)
{
    static const char agent[] = "OTel-OTLP-Exporter-C/" SL_VERSION_STRING;
    return agent;
}

/* ---- libc alone ---- */

static int lite_send(sl_http_transport *self, sl_str body, uint64_t timeout_ms, sl_http_answer *ret_answer)
{
    lite *l = (lite *)(void *)self;
    int error = sl_http_post_send(l->client, body, sl_deadline_ns(timeout_ms), ret_answer);
    bool final = error == SL_EPARSE || error == SL_ELIMIT || error == SL_EPROTO || error == SL_ETOOBIG ||
                 error == SL_ENOMEM; /* the peer talks nonsense, or there is no room */
    return error == 0 || final ? error : SL_ERETRY;
}

static const char *lite_error(const sl_http_transport *self)
{
    return sl_http_post_error(((const lite *)(const void *)self)->client);
}

static void lite_free(sl_http_transport *self)
{
    lite *l = (lite *)(void *)self;
    sl_http_post_free(l->client);
    sl_free(l);
}

static int lite_new(const sl_http_peer *peer, sl_str content_type, sl_http_transport **ret_transport, char *why,
                    size_t size)
{
    lite *l = sl_calloc(1, sizeof *l);
    if (!l)
        return SL_ENOMEM;
    sl_http_post_options o;
    memset(&o, 0, sizeof o);
    o.url = peer->url;
    o.headers = peer->headers;
    o.header_count = peer->header_count;
    o.user_agent = sl_str_c(sl_exporter_user_agent());
    o.content_type = content_type;
    const char *reason = "";
    int error = sl_http_post_new(&o, &l->client, &reason);
    if (error) {
        char shown[SHOWN_URL];
        sl_redact_url(peer->url, shown, sizeof shown);
        (void)snprintf(why, size, "%s: %s", shown, reason);
        sl_free(l);
        return error;
    }
    l->transport = (sl_http_transport){lite_send, lite_error, lite_free};
    *ret_transport = &l->transport;
    return 0;
}

/* ---- choosing ---- */

/* A proxy is set; libcurl reads these variables, and judges by no_proxy whether it applies. */
static bool has_proxy(void)
{
    static const char *const names[] = {"http_proxy", "all_proxy", "ALL_PROXY"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *value = getenv(names[i]);
        if (value && value[0])
            return true;
    }
    return false;
}

int sl_http_transport_new(const sl_http_peer *peer, sl_str content_type, sl_http_transport **ret_transport, char *why,
                          size_t size)
{
    SL_ASSERT(peer && ret_transport && why && size > 0);
    const sl_export_libraries *libraries = sl_export_factory();
    bool plain = !peer->gzip && sl_str_starts(peer->url, SL_STR("http://"));
    if (plain && !(libraries && has_proxy()))
        return lite_new(peer, content_type, ret_transport, why, size);
    if (libraries)
        return libraries->http(peer, content_type, ret_transport, why, size);
    (void)snprintf(why, size, "this library is built without https, gzip and gRPC; use http:// and http/protobuf");
    return SL_ENOTSUP;
}

void sl_http_transport_free(sl_http_transport *transport)
{
    if (transport)
        transport->free(transport);
}
