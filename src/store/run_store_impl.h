/* What the two halves of the run store share: run_store.c writes, run_store_read.c reads. */
#ifndef SL_STORE_RUN_STORE_IMPL_H
#define SL_STORE_RUN_STORE_IMPL_H

#include "src/store/run_store.h"

sqlite3 *sl_run_store_reader(sl_run_store *store);

#endif
