/* Names and texts of the error codes, from the one table in base.h. */
#include <sightline/base.h>

#ifndef SL_VERSION_STRING
#define SL_VERSION_STRING "0.1.0"
#endif

const char *sl_strerror(int error)
{
    switch (error) {
    case SL_OK:
        return "no error";
#define SL_ERROR_TEXT(name, value, text)                                                                               \
    case name:                                                                                                         \
        return text;
        SL_ERROR_MAP(SL_ERROR_TEXT)
#undef SL_ERROR_TEXT
    default:
        return "unknown error";
    }
}

const char *sl_error_name(int error)
{
    switch (error) {
    case SL_OK:
        return "SL_OK";
#define SL_ERROR_NAME(name, value, text)                                                                               \
    case name:                                                                                                         \
        return #name;
        SL_ERROR_MAP(SL_ERROR_NAME)
#undef SL_ERROR_NAME
    default:
        return "unknown";
    }
}

const char *sl_version(void)
{
    return SL_VERSION_STRING;
}
