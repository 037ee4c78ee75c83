/*
 * Attributes that many spans share: encoded once, set in one piece.
 *
 * Promises: a span looks as if the attributes had been set one by one in their order (limits, replaced keys and cut
 * values included); where nothing stands against it, setting a block costs about what one attribute costs.
 *
 * A block is constant once made: any thread may set it, on any span.
 */
#ifndef SL_TELEMETRY_SPAN_BLOCK_H
#define SL_TELEMETRY_SPAN_BLOCK_H

#include <sightline/trace.h>

#define SL_SPAN_BLOCK_ATTRS 16

typedef struct sl_span_block sl_span_block;

/*
 * Copies and encodes at most SL_SPAN_BLOCK_ATTRS attributes: numbers, booleans, texts and lists of texts. NULL without
 * memory, and when there are more, or others, or keys that a span would refuse.
 */
sl_span_block *sl_span_block_new(const sl_attr *attrs, size_t count);
void sl_span_block_free(sl_span_block *block);
/* Sets the attributes on a recording span. NULL for either: nothing happens. */
void sl_span_set_block(sl_span *span, const sl_span_block *block);

/* Attributes that a span has so far: a mark for sl_span_copy_attrs. 0 when it does not record. */
uint32_t sl_span_attr_count(const sl_span *span);
/*
 * Sets on `to` what has been set on `from` since the mark. False when that cannot be done in one piece (a key occurs
 * already, a limit is near, something was replaced): nothing has happened then, set them one by one.
 */
bool sl_span_copy_attrs(sl_span *to, const sl_span *from, uint32_t mark);

#endif
