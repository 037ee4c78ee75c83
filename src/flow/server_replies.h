/* Where workers answer to: the topic that every server reads, and those of single servers. */
#ifndef SL_FLOW_SERVER_REPLIES_H
#define SL_FLOW_SERVER_REPLIES_H

#include <stdbool.h>

/* Whether a topic below the namespace `topics` is that of one server's answers. `topic` may be NULL. */
bool sl_replies_is_topic(const char *topics, const char *topic);

#endif
