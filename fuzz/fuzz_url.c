/* URLs, addresses, targets, percent codes, field values: no crash, views within the text, sound results. */
#include "src/wire/url.h"

#include <stdlib.h>

#include "src/wire/http_field.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

static void check_url(sl_str text)
{
    const char *reason = NULL;
    sl_url url;
    sl_hostport peer;
    if (sl_url_parse(text, &url, &reason) != 0) {
        EXPECT(reason);
        return;
    }
    EXPECT(url.host.len && url.port && url.target.len && url.target.ptr[0] == '/' && url.path.ptr[0] == '/');
    EXPECT(sl_hostport_parse_peer(url.authority, &peer) == 0 && sl_str_eq(peer.host, url.host));
    EXPECT(url.path.len + url.query.len <= url.target.len);
}

static void check_fields(sl_str text)
{
    sl_str rest = text, item, value;
    int64_t time;
    uint64_t wait;
    while (sl_http_list_next(&rest, &item)) {
        EXPECT(item.len > 0 && item.ptr >= text.ptr && item.ptr + item.len <= text.ptr + text.len);
        (void)sl_http_param(item, SL_STR("q"), &value);
    }
    int weight = sl_http_accept_weight(text, SL_STR("text/plain"));
    EXPECT(weight >= 0 && weight <= 1000);
    if (sl_http_bearer(text, &value))
        EXPECT(value.len > 0);
    if (sl_http_date_parse(text, &time) == 0) {
        char date[SL_HTTP_DATE_SIZE];
        int64_t again;
        sl_http_date_format(time, date);
        EXPECT(sl_http_date_parse(sl_str_c(date), &again) == 0 && again == time);
    }
    if (sl_http_retry_after(text, 0, &wait) == 0)
        EXPECT(wait <= 86400000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sl_str text = sl_str_of((const char *)data, size), path, query, name, value;
    size_t len = 0;
    check_url(text);
    check_fields(text);
    sl_target_split(text, &path, &query);
    EXPECT(path.len > 0);
    while (sl_query_next(&query, &name, &value))
        EXPECT(name.len + value.len <= size);
    char *buffer = malloc(size + 1);
    EXPECT(buffer);
    if (sl_url_decode(text, size % 2 != 0, buffer, size, &len) == 0)
        EXPECT(len <= size && (len == 0 || !memchr(buffer, '\0', len)));
    free(buffer);
    return 0;
}
