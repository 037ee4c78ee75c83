/*
 * Secrets: which keys name one, and masking what looks like one in free text.
 *
 * A last line of defence for attributes and error texts, not a classifier of personal data: it knows the shapes of
 * credentials only, and prefers to mask too much of a text. Works on bytes; UTF-8 passes unharmed.
 */
#ifndef SL_WIRE_REDACT_H
#define SL_WIRE_REDACT_H

#include "src/base/buf.h"

#define SL_REDACTED "[REDACTED]"

/*
 * True when a value under this key is likely a secret: password, secret, token, api_key, authorization, cookie,
 * credential, private_key and the like, as words of the key (split at . _ - and changes of case, any case). Counts of
 * tokens are no secrets: gen_ai.usage.input_tokens, max_token, token_type.
 */
bool sl_key_is_sensitive(sl_str key);

/*
 * Appends `in` with everything masked that looks like a credential: API keys (sk-…, AKIA…, ghp_… …), JSON Web Tokens,
 * "Bearer …" and "Basic …", values of sensitive names (password=…, "api_key": "…", ?key=…; of the header fields
 * Authorization and Cookie the whole line), user:password@ in URLs, private keys in PEM.
 * 0 or the error of the buffer.
 */
int sl_redact_text(sl_str in, sl_buf *out);

/*
 * sl_redact_text of the beginning of `in`, at most `max` bytes of it: where it is cut, the word that the cut goes
 * through is left out (up to 1 KiB), because the beginning of a credential need not look like one.
 */
int sl_redact_beginning(sl_str in, size_t max, sl_buf *out);

/*
 * An address as messages show it: whatever stands before its last '@' is masked, user names too, and so is what looks
 * like a credential behind it; cut between characters to `size`, with its NUL. Also for texts that are no address.
 */
void sl_redact_url(sl_str url, char *ret_text, size_t size);

#endif
