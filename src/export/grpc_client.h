/*
 * A gRPC client for unary calls: one peer, one HTTP/2 connection kept open, one call at a time. nghttp2 frames, OpenSSL
 * for https, our own message framing.
 *
 * Promises: every step is bounded by the deadline; a connection that the peer has closed or
 * says it will close (GOAWAY) is replaced before or, once, during a call; answers are at most 4 MiB.
 * Thread rule: one thread at a time. Source: gRPC over HTTP2 (grpc.io, PROTOCOL-HTTP2), RFC 9113.
 */
#ifndef SL_EXPORT_GRPC_CLIENT_H
#define SL_EXPORT_GRPC_CLIENT_H

#include "src/base/buf.h"
#include "src/net/lite/tcp_connect.h"

typedef struct sl_grpc_client sl_grpc_client;

typedef struct sl_grpc_metadata {
    sl_str name; /* lower case */
    sl_str value;
} sl_grpc_metadata;

typedef struct sl_grpc_options {
    sl_str endpoint; /* http://host:port (h2c with prior knowledge) or https://host:port */
    sl_str user_agent;
    const sl_grpc_metadata *metadata;
    size_t metadata_count;
    bool gzip;
    const char *ca_file; /* NULL or "": the system's */
    const char *key_file;
    const char *certificate_file;
    const sl_net_ops *ops; /* for plain connections; NULL: libc */
} sl_grpc_options;

/* How a call ended. Views are valid until the next call. */
typedef struct sl_grpc_result {
    int status;     /* grpc-status; 0 is OK */
    sl_str message; /* grpc-message, decoded */
    sl_str details; /* grpc-status-details-bin as sent, base64 */
    sl_str body;    /* the response message, unpacked */
} sl_grpc_result;

/* Makes a client; nothing is connected yet. Errors: SL_ECONFIG (`why` says what), SL_ENOMEM. */
SL_MUST_CHECK int sl_grpc_client_new(const sl_grpc_options *options, sl_grpc_client **ret_client, char *why,
                                     size_t size);
/* NULL is accepted. */
void sl_grpc_client_free(sl_grpc_client *client);
/*
 * Calls `path` ("/package.Service/Method") with one message. 0: the peer answered, `ret_result` says how.
 * Errors: SL_ERESOLVE, SL_ECONNECT, SL_ETLS, SL_ETIMEOUT, SL_ECLOSED (no answer), SL_EPROTO, SL_ETOOBIG, SL_ENOMEM.
 */
SL_MUST_CHECK int sl_grpc_call(sl_grpc_client *client, const char *path, sl_str message, uint64_t deadline_ns,
                               sl_grpc_result *ret_result);
/* What went wrong last, for people; never NULL. */
const char *sl_grpc_error(const sl_grpc_client *client);
/* Number of connections made so far. */
unsigned sl_grpc_connections(const sl_grpc_client *client);

#endif
