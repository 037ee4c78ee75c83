/* Values of HTTP fields. */
#include "src/wire/http_field.h"

#include <stdio.h>

#include "src/base/assert.h"
#include "src/wire/http_field_chars.h"

#define DAY_S 86400
#define MAX_RETRY_MS ((uint64_t)DAY_S * 1000)

bool sl_http_is_token(sl_str text)
{
    SL_ASSERT(text.ptr || !text.len);
    return text.len > 0 && sl_http_span(text.ptr, text.len, SL_HTTP_CHAR_TOKEN) == text.len;
}

/* ---- Lists and parameters ---- */

/* Takes the part up to `separator` (outside quoted strings) off the front of `*rest`. False when it is used up. */
static bool split_unquoted(sl_str *rest, char separator, sl_str *ret_part)
{
    SL_ASSERT(rest && ret_part);
    bool quoted = false;
    size_t i = 0;
    if (!rest->ptr)
        return false;
    for (; i < rest->len && (quoted || rest->ptr[i] != separator); i++) {
        if (rest->ptr[i] == '"')
            quoted = !quoted;
        else if (quoted && rest->ptr[i] == '\\' && i + 1 < rest->len)
            i++;
    }
    *ret_part = sl_str_trim(sl_str_sub(*rest, 0, i));
    *rest = i == rest->len ? sl_str_of(NULL, 0) : sl_str_sub(*rest, i + 1, rest->len);
    return true;
}

bool sl_http_list_next(sl_str *rest, sl_str *ret_item)
{
    SL_ASSERT(rest && ret_item);
    sl_str part;
    while (split_unquoted(rest, ',', &part)) {
        if (part.len) {
            *ret_item = part;
            return true;
        }
    }
    return false;
}

bool sl_http_list_has(sl_str list, sl_str token)
{
    sl_str item;
    while (sl_http_list_next(&list, &item)) {
        if (sl_str_ieq(sl_http_media_type(item), token))
            return true;
    }
    return false;
}

sl_str sl_http_media_type(sl_str value)
{
    size_t end = sl_str_chr(value, ';');
    return sl_str_trim(sl_str_sub(value, 0, end == SL_NPOS ? value.len : end));
}

bool sl_http_param(sl_str value, sl_str name, sl_str *ret_value)
{
    SL_ASSERT(ret_value && name.len > 0);
    sl_str part;
    (void)split_unquoted(&value, ';', &part);
    while (split_unquoted(&value, ';', &part)) {
        size_t equals = sl_str_chr(part, '=');
        if (equals == SL_NPOS || !sl_str_ieq(sl_str_sub(part, 0, equals), name))
            continue;
        sl_str found = sl_str_sub(part, equals + 1, part.len);
        if (found.len >= 2 && found.ptr[0] == '"' && found.ptr[found.len - 1] == '"')
            found = sl_str_sub(found, 1, found.len - 2);
        *ret_value = found;
        return true;
    }
    return false;
}

/* ---- Negotiation ---- */

int sl_http_weight(sl_str element)
{
    sl_str q;
    if (!sl_http_param(element, SL_STR("q"), &q))
        return 1000;
    if (q.len == 0 || q.len > 5 || (q.ptr[0] != '0' && q.ptr[0] != '1') || (q.len > 1 && q.ptr[1] != '.'))
        return -1;
    int weight = (q.ptr[0] - '0') * 1000, unit = 100;
    for (size_t i = 2; i < q.len; i++, unit /= 10) {
        if (q.ptr[i] < '0' || q.ptr[i] > '9')
            return -1;
        weight += (q.ptr[i] - '0') * unit;
    }
    return weight <= 1000 ? weight : -1;
}

/* How closely a media range fits a type: 0 not at all, 1 any type, 2 type with any subtype, 3 both. */
static int range_fit(sl_str range, sl_str media_type)
{
    if (sl_str_ieq(range, media_type))
        return 3;
    if (sl_str_eq_c(range, "*/*"))
        return 1;
    size_t slash = sl_str_chr(range, '/');
    if (slash != SL_NPOS && sl_str_eq_c(sl_str_sub(range, slash, range.len), "/*") &&
        sl_str_ieq(sl_str_sub(range, 0, slash + 1), sl_str_sub(media_type, 0, slash + 1)))
        return 2;
    return 0;
}

int sl_http_accept_weight(sl_str accept, sl_str media_type)
{
    sl_str element;
    int best_fit = 0, best = 0;
    if (sl_str_trim(accept).len == 0)
        return 1000;
    while (sl_http_list_next(&accept, &element)) {
        int weight = sl_http_weight(element);
        int fit = range_fit(sl_http_media_type(element), media_type);
        if (weight >= 0 && (fit > best_fit || (fit > 0 && fit == best_fit && weight > best))) {
            best_fit = fit;
            best = weight;
        }
    }
    return best;
}

size_t sl_http_negotiate(sl_str accept, const sl_str *offers, size_t count)
{
    SL_ASSERT(offers || count == 0);
    size_t best = SL_NPOS;
    int best_weight = 0;
    for (size_t i = 0; i < count; i++) {
        int weight = sl_http_accept_weight(accept, offers[i]);
        if (weight > best_weight) {
            best_weight = weight;
            best = i;
        }
    }
    return best;
}

/* ---- Authorization ---- */

bool sl_http_bearer(sl_str authorization, sl_str *ret_token)
{
    SL_ASSERT(ret_token);
    if (authorization.len < 8 || !sl_str_ieq(sl_str_sub(authorization, 0, 6), SL_STR("bearer")) ||
        authorization.ptr[6] != ' ')
        return false;
    sl_str token = sl_str_trim(sl_str_sub(authorization, 7, authorization.len));
    for (size_t i = 0; i < token.len; i++) {
        if (token.ptr[i] <= ' ' || token.ptr[i] >= 0x7F)
            return false;
    }
    if (token.len == 0)
        return false;
    *ret_token = token;
    return true;
}

/* ---- Dates ---- */

static const char day_names[] = "SunMonTueWedThuFriSat";
static const char month_names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

struct civil {
    int64_t year;
    int month, day; /* from 1 */
    int hour, minute, second;
};

/* Days since 1970-01-01 of a date in the proleptic Gregorian calendar. */
static int64_t days_of(int64_t year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static int days_in(int64_t year, int month)
{
    return (int)(days_of(month < 12 ? year : year + 1, month < 12 ? month + 1 : 1, 1) - days_of(year, month, 1));
}

/* The reverse of days_of. */
static void date_of(int64_t days, struct civil *ret_civil)
{
    SL_ASSERT(ret_civil);
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t day_of_era = z - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month = (5 * day_of_year + 2) / 153;
    ret_civil->day = (int)(day_of_year - (153 * month + 2) / 5 + 1);
    ret_civil->month = (int)(month < 10 ? month + 3 : month - 9);
    ret_civil->year = year_of_era + era * 400 + (ret_civil->month <= 2 ? 1 : 0);
}

void sl_http_date_format(int64_t unix_s, char ret_text[SL_HTTP_DATE_SIZE])
{
    const int64_t first = days_of(1, 1, 1) * DAY_S, last = days_of(10000, 1, 1) * DAY_S - 1;
    SL_ASSERT(ret_text);
    int64_t time = unix_s < first ? first : unix_s > last ? last : unix_s;
    int64_t days = (time >= 0 ? time : time - (DAY_S - 1)) / DAY_S;
    int of_day = (int)(time - days * DAY_S);
    int weekday = (int)(((days + 4) % 7 + 7) % 7);
    struct civil date;
    date_of(days, &date);
    char text[64];
    (void)snprintf(text, sizeof text, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT", day_names + 3 * weekday, date.day,
                   month_names + 3 * (date.month - 1), (int)date.year, of_day / 3600, of_day / 60 % 60, of_day % 60);
    memcpy(ret_text, text, SL_HTTP_DATE_SIZE - 1);
    ret_text[SL_HTTP_DATE_SIZE - 1] = '\0';
}

/* Takes exactly `len` decimal digits, of which the first may be a space when `padded`. */
static bool take_number(sl_str *rest, size_t len, bool padded, int *ret_number)
{
    SL_ASSERT(rest && ret_number);
    sl_str digits = sl_str_sub(*rest, 0, len);
    uint64_t number = 0;
    if (digits.len != len)
        return false;
    *rest = sl_str_sub(*rest, len, rest->len);
    if (padded && digits.ptr[0] == ' ')
        digits = sl_str_sub(digits, 1, len);
    if (sl_str_to_u64(digits, &number) != 0)
        return false;
    *ret_number = (int)number;
    return true;
}

static bool take_text(sl_str *rest, const char *text)
{
    SL_ASSERT(rest);
    if (!sl_str_starts(*rest, sl_str_c(text)))
        return false;
    *rest = sl_str_sub(*rest, strlen(text), rest->len);
    return true;
}

static bool take_month(sl_str *rest, int *ret_month)
{
    SL_ASSERT(ret_month);
    for (int i = 0; i < 12; i++) {
        if (rest->len >= 3 && memcmp(rest->ptr, month_names + 3 * i, 3) == 0) {
            *rest = sl_str_sub(*rest, 3, rest->len);
            *ret_month = i + 1;
            return true;
        }
    }
    return false;
}

static bool take_time(sl_str *rest, struct civil *civil)
{
    SL_ASSERT(civil);
    return take_number(rest, 2, false, &civil->hour) && take_text(rest, ":") &&
           take_number(rest, 2, false, &civil->minute) && take_text(rest, ":") &&
           take_number(rest, 2, false, &civil->second);
}

/* The part behind the day name, in one of the three forms. */
static bool parse_date(sl_str rest, struct civil *civil)
{
    SL_ASSERT(rest.ptr || !rest.len);
    int year = 0;
    size_t comma = sl_str_chr(rest, ',');
    if (comma == SL_NPOS) { /* asctime: "Sun Nov  6 08:49:37 1994" */
        rest = sl_str_sub(rest, 3, rest.len);
        bool good = take_text(&rest, " ") && take_month(&rest, &civil->month) && take_text(&rest, " ") &&
                    take_number(&rest, 2, true, &civil->day) && take_text(&rest, " ") && take_time(&rest, civil) &&
                    take_text(&rest, " ") && take_number(&rest, 4, false, &year);
        civil->year = year;
        return good && rest.len == 0;
    }
    rest = sl_str_sub(rest, comma + 1, rest.len);
    if (!take_text(&rest, " ") || !take_number(&rest, 2, false, &civil->day) || rest.len == 0)
        return false;
    bool rfc850 = rest.ptr[0] == '-'; /* "Sunday, 06-Nov-94 08:49:37 GMT" */
    const char *separator = rfc850 ? "-" : " ";
    if (!take_text(&rest, separator) || !take_month(&rest, &civil->month) || !take_text(&rest, separator) ||
        !take_number(&rest, rfc850 ? 2 : 4, false, &year))
        return false;
    civil->year = rfc850 ? year + (year < 70 ? 2000 : 1900) : year;
    return take_text(&rest, " ") && take_time(&rest, civil) && take_text(&rest, " GMT") && rest.len == 0;
}

int sl_http_date_parse(sl_str text, int64_t *ret_unix_s)
{
    SL_ASSERT(ret_unix_s);
    struct civil civil;
    memset(&civil, 0, sizeof civil);
    bool named = false;
    for (size_t i = 0; i < 7; i++)
        named = named || sl_str_starts(text, sl_str_of(day_names + 3 * i, 3));
    if (!named || !parse_date(text, &civil) || civil.year < 1 || civil.day < 1 ||
        civil.day > days_in(civil.year, civil.month) || civil.hour > 23 || civil.minute > 59 || civil.second > 60)
        return SL_EPARSE;
    *ret_unix_s =
        days_of(civil.year, civil.month, civil.day) * DAY_S + civil.hour * 3600 + civil.minute * 60 + civil.second;
    return 0;
}

int sl_http_retry_after(sl_str value, int64_t now_unix_ms, uint64_t *ret_ms)
{
    SL_ASSERT(ret_ms);
    double seconds = 0;
    int64_t date = 0;
    sl_str text = sl_str_trim(value);
    if (text.len && text.ptr[0] >= '0' && text.ptr[0] <= '9') {
        for (size_t i = 0; i < text.len; i++) {
            if (text.ptr[i] != '.' && (text.ptr[i] < '0' || text.ptr[i] > '9'))
                return SL_EPARSE;
        }
        if (sl_str_to_double(text, &seconds) != 0)
            return SL_EPARSE;
        *ret_ms = seconds < DAY_S ? (uint64_t)(seconds * 1000.0 + 0.5) : MAX_RETRY_MS;
        return 0;
    }
    int error = sl_http_date_parse(text, &date);
    if (error)
        return error;
    int64_t wait = date * 1000 - now_unix_ms;
    *ret_ms = wait < 0 ? 0 : (uint64_t)wait > MAX_RETRY_MS ? MAX_RETRY_MS : (uint64_t)wait;
    return 0;
}
