/* The watched paths of this folder's readers: compiled once, constant from then on. */
#ifndef SL_LLM_TABLES_H
#define SL_LLM_TABLES_H

#include "src/wire/json_scan.h"

/* Compiles the tables of openai.h and usage.h; before their first use, any thread, any number of times. */
void sl_llm_init(void);

/* For sl_llm_init alone: each module's own. 0, or the fault of its table. */
int sl_openai_compile(void);
int sl_usage_compile(void);

#endif
