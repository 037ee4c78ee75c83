/*
 * How the parts of the flow plane are: written by its process, read by the one that answers probes, in memory that both
 * have mapped. One writer for each part; readers never wait, and never see half a text.
 */
#ifndef SL_FLOW_HEALTH_BOARD_H
#define SL_FLOW_HEALTH_BOARD_H

#include <sightline/health.h>
#include <stdatomic.h>
#include <stddef.h>

#define SL_BOARD_TEXT 240

typedef enum sl_board_part { SL_BOARD_STORE = 0, SL_BOARD_BROKER, SL_BOARD_PROVIDERS, SL_BOARD_PARTS } sl_board_part;

typedef struct sl_health_board {
    struct {
        _Atomic uint32_t version; /* odd while it is written */
        _Atomic uint32_t status;  /* sl_health_status */
        _Atomic char text[SL_BOARD_TEXT];
    } parts[SL_BOARD_PARTS]; /* all zero: healthy */
} sl_health_board;

/* `text` may be NULL; what is longer than SL_BOARD_TEXT - 1 bytes is cut off. */
void sl_board_say(sl_health_board *board, sl_board_part part, sl_health_status status, const char *text);
/* The last that was said. */
sl_health_status sl_board_read(const sl_health_board *board, sl_board_part part, char *text, size_t size);

#endif
