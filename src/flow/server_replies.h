/* Where workers answer to: the topic that every server reads, and those of single servers. */
#ifndef SL_FLOW_SERVER_REPLIES_H
#define SL_FLOW_SERVER_REPLIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What topics of tasks begin with: CONTROL_PLANE_TOPIC_NAMESPACE. NULL: it is too long, as stderr has been told. */
const char *sl_flow_namespace(void);
/* Whether a topic below the namespace `topics` is that of one server's answers. `topic` may be NULL. */
bool sl_replies_is_topic(const char *topics, const char *topic);
/* The key of a result: of the first run of a task, or of one that goes on behind an event. */
void sl_replies_result_key(const char *task, uint64_t last_seq, char *key, size_t size);

#endif
