/* Writing of the ready file. */
#include "src/cli/ready_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/wire/json_write.h"

void sl_ready_add(sl_ready *ready, const char *key, const sl_addr *addr)
{
    SL_ASSERT(ready);
    if (ready->count == SL_MAX_READY || addr->off)
        return;
    sl_addr shown = *addr;
    if (strcmp(shown.host, "0.0.0.0") == 0)
        (void)sl_str_to_c(SL_STR("127.0.0.1"), shown.host, sizeof shown.host);
    else if (strcmp(shown.host, "::") == 0)
        (void)sl_str_to_c(SL_STR("::1"), shown.host, sizeof shown.host);
    char text[SL_ADDR_TEXT_MAX];
    sl_addr_format(&shown, text);
    ready->items[ready->count].key = key;
    snprintf(ready->items[ready->count].url, sizeof ready->items[0].url, "http://%s", text);
    ready->count++;
}

const char *sl_ready_url(const sl_ready *ready, const char *key)
{
    for (size_t i = 0; i < ready->count; i++) {
        if (strcmp(ready->items[i].key, key) == 0)
            return ready->items[i].url;
    }
    return NULL;
}

static int write_all(int fd, sl_str text)
{
    SL_ASSERT(text.ptr || !text.len);
    while (text.len) {
        ssize_t sent = write(fd, text.ptr, text.len);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return SL_EIO;
        text = sl_str_sub(text, (size_t)sent, text.len);
    }
    return 0;
}

static int put_json(const sl_ready *ready, sl_buf *out)
{
    SL_ASSERT(ready);
    sl_jw w;
    sl_jw_init(&w, out);
    sl_jw_object(&w);
    sl_jw_member_i64(&w, "pid", getpid());
    for (size_t i = 0; i < ready->count; i++)
        sl_jw_member_c(&w, ready->items[i].key, ready->items[i].url);
    sl_jw_end(&w);
    int error = sl_jw_finish(&w);
    return error ? error : sl_buf_put_char(out, '\n');
}

int sl_ready_write(const sl_ready *ready, sl_str path)
{
    SL_ASSERT(ready && (path.ptr || !path.len));
    if (!path.len)
        return 0;
    char final[4096], temporary[4160];
    if (!sl_str_to_c(path, final, sizeof final)) {
        errno = ENAMETOOLONG;
        return SL_EIO;
    }
    snprintf(temporary, sizeof temporary, "%s.%ld.tmp", final, (long)getpid());
    sl_buf text;
    sl_buf_init(&text, 64 * 1024);
    int error = put_json(ready, &text);
    int fd = error ? -1 : open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (!error)
        error = fd < 0 ? SL_EIO : write_all(fd, sl_buf_str(&text));
    sl_buf_done(&text);
    if (fd >= 0 && close(fd) != 0 && !error)
        error = SL_EIO;
    if (!error && rename(temporary, final) != 0)
        error = SL_EIO;
    if (error) {
        int why = errno;
        (void)unlink(temporary);
        errno = why;
    }
    return error;
}
