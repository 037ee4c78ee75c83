/*
 * What the functions of expressions are made of: how one is declared, how it reads its arguments and gives its result.
 *
 * Every result is a new reference, and is paid for in the work of the call. Errors: SL_EINVAL, SL_ETOOBIG, SL_ENOMEM.
 */
#ifndef SL_FLOW_EXPR_GIVE_H
#define SL_FLOW_EXPR_GIVE_H

#include "src/flow/expr_functions.h"

typedef json_t *const *sl_fn_values;

#define SL_FN_ARGS const sl_flow_call *call, sl_fn_values args, size_t count, json_t **ret_value

#define FUNCTION(name_, types_, args_, help_, run_) int sl_fn_run_##run_(SL_FN_ARGS);
#include "src/flow/expr_functions.def"
#undef FUNCTION

/* Takes the value over; NULL is SL_ENOMEM. */
int sl_give(json_t *value, json_t **ret_value);
/* Another reference. */
int sl_give_same(json_t *value, json_t **ret_value);
int sl_give_text(const sl_flow_call *call, sl_str s, json_t **ret_value);
/* Takes the text over and frees it; gives `error` when that is one. */
int sl_give_buf(const sl_flow_call *call, sl_buf *buf, int error, json_t **ret_value);
/* Refuses what is no finite number. */
int sl_give_double(const sl_flow_call *call, double number, json_t **ret_value);
/* An integer where that is exact. */
int sl_give_number(const sl_flow_call *call, double number, json_t **ret_value);
int sl_give_bool(bool value, json_t **ret_value);
/* Ends a list or object that was being built: gives it, or frees it and returns `error`. */
int sl_give_list(json_t *list, int error, json_t **ret_value);

/* Appends and takes the reference over; NULL is SL_ENOMEM. */
int sl_fn_list_add(const sl_flow_call *call, json_t *list, json_t *value);
sl_str sl_fn_text_of(sl_fn_values args, size_t i);
/* Not left out, and not null. */
bool sl_fn_is_given(sl_fn_values args, size_t count, size_t i);
/* A number without its fraction. */
json_int_t sl_fn_whole(json_t *number);
/* The number that a text is, white space around it allowed; NULL: none, or no memory. */
json_t *sl_fn_parse_number(sl_str s);

/* How many characters a text has; they are taken as UTF-8. */
size_t sl_fn_characters(sl_str s);
/* Byte offset of character number `n`, or the length. */
size_t sl_fn_offset(sl_str s, size_t n);
bool sl_fn_is_space(char c);
/* Without white space at both ends. */
sl_str sl_fn_trimmed(sl_str s);

#endif
