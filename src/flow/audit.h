/*
 * The audit log: who changed what, one JSON object a line, each with the SHA-256 hash of the one before and of itself,
 * so that a line that was changed, left out or put in shows.
 *
 *     {"seq":2,"time":"…","action":"run.create","object":"…","by":"…","detail":"…","prev":"<64 hex>","hash":"<64 hex>"}
 *
 * `hash` is that of the line up to and without the member itself. The file is opened for appending and goes on where it
 * ended, and is synced to disk within a quarter of a second; a last line that was cut by a crash is closed by a line of
 * its own. Written by its own thread: adding neither blocks nor fails the caller; entries beyond SL_AUDIT_MAX_WAITING
 * are counted as lost, and that is logged in the chain.
 */
#ifndef SL_FLOW_AUDIT_H
#define SL_FLOW_AUDIT_H

#include "src/base/str.h"

typedef struct sl_audit sl_audit;

#define SL_AUDIT_MAX_WAITING 65536
#define SL_AUDIT_HASH_LEN 64

/* Errors: SL_EIO, SL_ENOMEM. */
SL_MUST_CHECK int sl_audit_open(const char *path, sl_audit **ret_audit);
/* Writes what waits. NULL is accepted. */
void sl_audit_close(sl_audit *audit);
/* Adds an entry. NULL is accepted. Any thread. */
void sl_audit_add(sl_audit *audit, const char *action, sl_str object, sl_str by, sl_str detail);

/* Reads a log and checks its chain. `*ret_lines`: that are good. Errors: SL_EIO; SL_EPROTO: line `*ret_lines` + 1 does
 * not fit. */
SL_MUST_CHECK int sl_audit_verify(const char *path, uint64_t *ret_lines);

#endif
