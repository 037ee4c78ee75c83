/*
 * Base types of the public interface: visibility, string views, error codes.
 *
 * Everything here is C11 and may be included from C++.
 */
#ifndef SIGHTLINE_BASE_H
#define SIGHTLINE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
#define SL_BEGIN_DECLS extern "C" {
#define SL_END_DECLS }
#else
#define SL_BEGIN_DECLS
#define SL_END_DECLS
#endif

#if defined(__GNUC__)
#define SL_API __attribute__((visibility("default")))
#define SL_MUST_CHECK __attribute__((warn_unused_result))
#else
#define SL_API
#define SL_MUST_CHECK
#endif

SL_BEGIN_DECLS

/* A view of bytes that somebody else owns; not NUL-terminated. {NULL, 0} is the empty string. */
typedef struct sl_str {
    const char *ptr;
    size_t len;
} sl_str;

/* View of a string literal. Only for literals: the length is taken at compile time. */
#ifdef __cplusplus
#define SL_STR(literal) (sl_str{("" literal), sizeof(literal) - 1})
#else
#define SL_STR(literal) ((sl_str){("" literal), sizeof(literal) - 1})
#endif

/* View of LEN bytes at PTR. */
static inline sl_str sl_str_of(const char *ptr, size_t len)
{
    sl_str s;
    s.ptr = ptr;
    s.len = len;
    return s;
}

/* View of a NUL-terminated string; NULL gives the empty view. */
static inline sl_str sl_str_c(const char *z)
{
    return sl_str_of(z, z ? strlen(z) : 0);
}

/*
 * Every error code of the library: name, value, text. Functions that can fail return 0 or one of these.
 * The values never change; new ones are added at the end.
 */
#define SL_ERROR_MAP(X)                                                                                                \
    X(SL_EINVAL, -1, "invalid argument")                                                                               \
    X(SL_ENOMEM, -2, "out of memory")                                                                                  \
    X(SL_ELIMIT, -3, "a limit was reached")                                                                            \
    X(SL_EPARSE, -4, "malformed input")                                                                                \
    X(SL_EAGAIN, -5, "not now, try again")                                                                             \
    X(SL_EIO, -6, "input/output error")                                                                                \
    X(SL_ETIMEOUT, -7, "timed out")                                                                                    \
    X(SL_ECLOSED, -8, "closed")                                                                                        \
    X(SL_EEXIST, -9, "exists already, and differs")                                                                    \
    X(SL_ENOENT, -10, "not found")                                                                                     \
    X(SL_ECONNECT, -11, "could not connect")                                                                           \
    X(SL_ERESOLVE, -12, "host name could not be resolved")                                                             \
    X(SL_ETLS, -13, "TLS failure")                                                                                     \
    X(SL_EPROTO, -14, "the peer broke the protocol")                                                                   \
    X(SL_EREFUSED, -15, "the peer refused the data for good")                                                          \
    X(SL_ERETRY, -16, "the peer asked to try again later")                                                             \
    X(SL_ECONFIG, -17, "invalid configuration")                                                                        \
    X(SL_ENOTSUP, -18, "not supported by this build")                                                                  \
    X(SL_EMORE, -19, "more input is needed")                                                                           \
    X(SL_ETOOBIG, -20, "too big")

typedef enum sl_error {
    SL_OK = 0,
#define SL_ERROR_ENUM(name, value, text) name = value,
    SL_ERROR_MAP(SL_ERROR_ENUM)
#undef SL_ERROR_ENUM
} sl_error;

/*
 * Text of an error code, for people. Never NULL; "unknown error" for a code that is not in SL_ERROR_MAP.
 * The pointer is static. Any thread.
 */
SL_API const char *sl_strerror(int error);

/* Symbolic name of an error code, such as "SL_EINVAL"; "SL_OK" for 0. Static; never NULL. Any thread. */
SL_API const char *sl_error_name(int error);

/* Version of the library that runs, "MAJOR.MINOR.PATCH". Static. Any thread. */
SL_API const char *sl_version(void);

SL_END_DECLS

#endif
