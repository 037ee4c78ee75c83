/*
 * PostgreSQL's client library, loaded when the first connection needs it: a machine that talks to no PostgreSQL server
 * needs none, and a build needs no header of it. Declared here is what we call, as libpq's manual documents it for
 * every version since 14 (chapter "libpq - C Library"); names and numbers are part of its stable interface, libpq.so.5.
 */
#ifndef SL_STORE_LIBPQ_H
#define SL_STORE_LIBPQ_H

#include <stdio.h>

#include "src/base/str.h"

#define SL_LIBPQ_FILE "libpq.so.5"
#define SL_LIBPQ_REASON 300

typedef struct pg_conn sl_pq_conn;
typedef struct pg_result sl_pq_result;
typedef struct pg_cancel sl_pq_cancel;

typedef struct sl_pq_option {
    char *keyword, *envvar, *compiled, *val, *label, *dispchar;
    int dispsize;
} sl_pq_option;

enum { SL_PQ_CONNECTION_OK = 0, SL_PQ_CONNECTION_BAD = 1 };
enum { SL_PQ_POLL_FAILED = 0, SL_PQ_POLL_READING = 1, SL_PQ_POLL_WRITING = 2, SL_PQ_POLL_OK = 3 };
enum { SL_PQ_COMMAND_OK = 1, SL_PQ_TUPLES_OK = 2, SL_PQ_SINGLE_TUPLE = 9 };
enum { SL_PQ_IDLE = 0 }; /* PQtransactionStatus: in no transaction */
enum { SL_PQ_ERRORS_DEFAULT = 1, SL_PQ_ERRORS_VERBOSE = 2 };
enum { SL_PQ_SQLSTATE = 'C', SL_PQ_PRIMARY = 'M', SL_PQ_DETAIL = 'D', SL_PQ_HINT = 'H' };

/* X(what it gives, its name without PQ, its parameters): the same order as the members below. */
#define SL_LIBPQ_FUNCTIONS(X)                                                                                          \
    X(sl_pq_conn *, connectStartParams, (const char *const *keywords, const char *const *values, int expand))          \
    X(int, connectPoll, (sl_pq_conn *))                                                                                \
    X(void, finish, (sl_pq_conn *))                                                                                    \
    X(int, status, (const sl_pq_conn *))                                                                               \
    X(int, transactionStatus, (const sl_pq_conn *))                                                                    \
    X(int, socket, (const sl_pq_conn *))                                                                               \
    X(char *, errorMessage, (const sl_pq_conn *))                                                                      \
    X(char *, host, (const sl_pq_conn *))                                                                              \
    X(char *, port, (const sl_pq_conn *))                                                                              \
    X(char *, db, (const sl_pq_conn *))                                                                                \
    X(sl_pq_option *, conninfo, (sl_pq_conn *))                                                                        \
    X(sl_pq_option *, conninfoParse, (const char *text, char **ret_error))                                             \
    X(void, conninfoFree, (sl_pq_option *))                                                                            \
    X(void, freemem, (void *))                                                                                         \
    X(int, setErrorVerbosity, (sl_pq_conn *, int))                                                                     \
    X(void *, setNoticeProcessor, (sl_pq_conn *, void (*fn)(void *user, const char *text), void *user))                \
    X(int, setnonblocking, (sl_pq_conn *, int))                                                                        \
    X(int, sendQueryParams,                                                                                            \
      (sl_pq_conn *, const char *sql, int count, const unsigned *types, const char *const *values, const int *lengths, \
       const int *formats, int result_format))                                                                         \
    X(int, setSingleRowMode, (sl_pq_conn *))                                                                           \
    X(int, flush, (sl_pq_conn *))                                                                                      \
    X(int, consumeInput, (sl_pq_conn *))                                                                               \
    X(int, isBusy, (sl_pq_conn *))                                                                                     \
    X(sl_pq_result *, getResult, (sl_pq_conn *))                                                                       \
    X(int, resultStatus, (const sl_pq_result *))                                                                       \
    X(char *, resultErrorMessage, (const sl_pq_result *))                                                              \
    X(char *, resultErrorField, (const sl_pq_result *, int field))                                                     \
    X(int, ntuples, (const sl_pq_result *))                                                                            \
    X(int, nfields, (const sl_pq_result *))                                                                            \
    X(int, getisnull, (const sl_pq_result *, int row, int column))                                                     \
    X(int, getlength, (const sl_pq_result *, int row, int column))                                                     \
    X(char *, getvalue, (const sl_pq_result *, int row, int column))                                                   \
    X(void, clear, (sl_pq_result *))                                                                                   \
    X(sl_pq_cancel *, getCancel, (sl_pq_conn *))                                                                       \
    X(void, freeCancel, (sl_pq_cancel *))                                                                              \
    X(int, cancel, (sl_pq_cancel *, char *error, int error_size))

typedef struct sl_libpq {
#define SL_LIBPQ_MEMBER(type, name, parameters) type(*name) parameters;
    SL_LIBPQ_FUNCTIONS(SL_LIBPQ_MEMBER)
#undef SL_LIBPQ_MEMBER
} sl_libpq;

/*
 * Loads a library of this name, or finds it loaded, and looks up every function. It stays loaded. On failure `reason`
 * (SL_LIBPQ_REASON bytes) says what to do. Errors: SL_ENOTSUP.
 */
SL_MUST_CHECK int sl_libpq_load(const char *file, char *reason, sl_libpq *ret_functions);

#endif
