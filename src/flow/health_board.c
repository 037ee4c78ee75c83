/* A counter that is odd while a part is written: who sees it change reads again. */
#include "src/flow/health_board.h"

#include <stdbool.h>

#include "src/base/assert.h"
#include "src/base/str.h"

#define TRIES 100 /* a writer that died in the midst leaves its part odd: then there is no text */

void sl_board_say(sl_health_board *board, sl_board_part part, sl_health_status status, const char *text)
{
    SL_ASSERT(board && part < SL_BOARD_PARTS);
    sl_str said = sl_str_c(text ? text : "");
    size_t len = sl_utf8_prefix(said, SL_BOARD_TEXT - 1);
    uint32_t version = atomic_load(&board->parts[part].version) | 1u;
    atomic_store(&board->parts[part].version, version);
    atomic_thread_fence(memory_order_release); /* nothing below comes before it */
    atomic_store(&board->parts[part].status, (uint32_t)status);
    for (size_t i = 0; i <= len; i++)
        atomic_store_explicit(&board->parts[part].text[i], i < len ? said.ptr[i] : '\0', memory_order_relaxed);
    atomic_store(&board->parts[part].version, version + 1);
}

sl_health_status sl_board_read(const sl_health_board *board, sl_board_part part, char *text, size_t size)
{
    SL_ASSERT(board && part < SL_BOARD_PARTS && text && size);
    uint32_t status = SL_HEALTHY;
    bool whole = false;
    for (unsigned i = 0; i < TRIES && !whole; i++) {
        uint32_t version = atomic_load(&board->parts[part].version);
        status = atomic_load(&board->parts[part].status);
        size_t len = 0;
        while (len + 1 < size && len + 1 < SL_BOARD_TEXT &&
               (text[len] = atomic_load_explicit(&board->parts[part].text[len], memory_order_relaxed)) != '\0')
            len++;
        text[len] = '\0';
        atomic_thread_fence(memory_order_acquire);
        whole = !(version & 1) && atomic_load(&board->parts[part].version) == version;
    }
    if (!whole)
        text[0] = '\0';
    return status <= SL_UNHEALTHY ? (sl_health_status)status : SL_UNHEALTHY;
}
