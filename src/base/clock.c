/* RFC 3339 text of a time, without the C library's time zone machinery. */
#include "src/base/clock.h"

#include "src/base/assert.h"

/* Writes `width` decimal digits of `value`. */
static char *put_digits(char *at, uint64_t value, int width)
{
    for (int i = width - 1; i >= 0; i--) {
        at[i] = (char)('0' + value % 10);
        value /= 10;
    }
    SL_ASSERT(value == 0);
    return at + width;
}

void sl_rfc3339_ms(uint64_t unix_ns, char ret_text[SL_RFC3339_MS_LEN + 1])
{
    uint64_t ms = unix_ns / 1000000u;
    uint64_t seconds = ms / 1000;
    uint64_t days = seconds / 86400;
    uint64_t rest = seconds % 86400;
    /* Civil date from a day count (proleptic Gregorian), years starting in March. */
    uint64_t z = days + 719468;
    uint64_t era = z / 146097;
    uint64_t doe = z % 146097;
    uint64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    uint64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    uint64_t mp = (5 * doy + 2) / 153;
    uint64_t day = doy - (153 * mp + 2) / 5 + 1;
    uint64_t month = mp < 10 ? mp + 3 : mp - 9;
    uint64_t year = yoe + era * 400 + (month <= 2 ? 1 : 0);
    char *at = ret_text;
    at = put_digits(at, year, 4);
    *at++ = '-';
    at = put_digits(at, month, 2);
    *at++ = '-';
    at = put_digits(at, day, 2);
    *at++ = 'T';
    at = put_digits(at, rest / 3600, 2);
    *at++ = ':';
    at = put_digits(at, rest / 60 % 60, 2);
    *at++ = ':';
    at = put_digits(at, rest % 60, 2);
    *at++ = '.';
    at = put_digits(at, ms % 1000, 3);
    *at++ = 'Z';
    *at = '\0';
}
