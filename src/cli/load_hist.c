/* Cells grow with the value: below 256 each value has its own, above, 128 for each power of two. */
#include "src/cli/load_hist.h"

#include <math.h>

#define STEPS (1u << SL_LOAD_HIST_BITS)

static unsigned shift_of(uint64_t ns)
{
    unsigned bits = 64u - (unsigned)__builtin_clzll(ns | 1);
    return bits > SL_LOAD_HIST_BITS + 1 ? bits - (SL_LOAD_HIST_BITS + 1) : 0;
}

static size_t cell_of(uint64_t ns)
{
    unsigned shift = shift_of(ns);
    return ((size_t)shift << SL_LOAD_HIST_BITS) + (size_t)(ns >> shift);
}

/* The middle of what falls into a cell. */
static uint64_t value_of(size_t cell)
{
    if (cell < 2 * STEPS)
        return cell;
    unsigned shift = (unsigned)(cell >> SL_LOAD_HIST_BITS) - 1;
    uint64_t low = (uint64_t)(cell - ((size_t)shift << SL_LOAD_HIST_BITS)) << shift;
    return low + (((uint64_t)1 << shift) >> 1);
}

void sl_load_hist_add(sl_load_hist *hist, uint64_t ns)
{
    SL_ASSERT(hist);
    size_t cell = cell_of(ns);
    SL_ASSERT(cell < SL_LOAD_HIST_CELLS);
    hist->cells[cell]++;
    hist->count++;
    if (ns > hist->max)
        hist->max = ns;
}

uint64_t sl_load_hist_at(const sl_load_hist *hist, double q)
{
    SL_ASSERT(hist && q >= 0 && q <= 1);
    if (!hist->count)
        return 0;
    uint64_t rank = (uint64_t)ceil(q * (double)hist->count);
    uint64_t seen = 0;
    for (size_t i = 0; i < SL_LOAD_HIST_CELLS; i++) {
        seen += hist->cells[i];
        if (seen >= rank && seen > 0) {
            uint64_t value = value_of(i);
            return value < hist->max ? value : hist->max;
        }
    }
    return hist->max;
}
