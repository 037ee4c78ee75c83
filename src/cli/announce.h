/* What a serving command prints for people to copy. No I/O. */
#ifndef SL_CLI_ANNOUNCE_H
#define SL_CLI_ANNOUNCE_H

#include "src/base/buf.h"

/*
 * Appends the body of a chat request for a model as one argument of a shell, in its quotes: `'{"model": …}'`. Whatever
 * the name of the model is, a shell reads one word, its JSON is that name, and a terminal sees no control character.
 * Errors: the buffer's.
 */
SL_MUST_CHECK int sl_announce_chat_body(sl_str model, sl_buf *out);

#endif
