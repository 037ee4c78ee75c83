/* Finding the probe's library. */
#include "src/cli/exec_library.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/base/assert.h"

/* Given by the build; relative to the prefix, or absolute. */
#ifndef SL_INSTALL_LIBDIR
#define SL_INSTALL_LIBDIR "lib"
#endif
#ifndef SL_INSTALL_FULL_LIBDIR
#define SL_INSTALL_FULL_LIBDIR "/usr/local/lib"
#endif

/* True when `path` can be read; the name without links and dots goes into `ret_path`. */
static bool is_there(const char *path, char ret_path[SL_EXEC_PATH_MAX], sl_buf *tried)
{
    SL_ASSERT(path && tried);
    char real[PATH_MAX];
    if (access(path, R_OK) == 0 && realpath(path, real) && strlen(real) < SL_EXEC_PATH_MAX) {
        (void)snprintf(ret_path, SL_EXEC_PATH_MAX, "%s", real);
        return true;
    }
    (void)sl_buf_printf(tried, "%s%s", tried->len ? ", " : "", path);
    return false;
}

int sl_exec_library_find(char ret_path[SL_EXEC_PATH_MAX], sl_buf *tried)
{
    SL_ASSERT(ret_path && tried);
    static const char *const beside[] = {"", "../lib/", "../" SL_INSTALL_LIBDIR "/"};
    char self[SL_EXEC_PATH_MAX / 2], path[SL_EXEC_PATH_MAX];
    sl_buf_clear(tried);
    const char *given = getenv(SL_EXEC_LIBRARY_ENV);
    if (given && *given)
        return is_there(given, ret_path, tried) ? 0 : SL_ENOENT;
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    while (len > 0 && self[len - 1] != '/')
        len--;
    self[len > 0 ? len : 0] = '\0';
    for (size_t i = 0; i < sizeof beside / sizeof *beside && len > 0; i++) {
        if (i == 2 && strcmp(beside[2], beside[1]) == 0)
            continue;
        (void)snprintf(path, sizeof path, "%s%s%s", self, beside[i], SL_EXEC_LIBRARY_NAME);
        if (is_there(path, ret_path, tried))
            return 0;
    }
    return is_there(SL_INSTALL_FULL_LIBDIR "/" SL_EXEC_LIBRARY_NAME, ret_path, tried) ? 0 : SL_ENOENT;
}

int sl_exec_library_preload(const char *library, const char *existing, sl_buf *out)
{
    SL_ASSERT(library && *library && out);
    int error = sl_buf_put_c(out, library);
    sl_str rest = sl_str_c(existing ? existing : "");
    while (!error && rest.len) { /* the loader takes colons and spaces */
        size_t end = 0;
        while (end < rest.len && rest.ptr[end] != ':' && rest.ptr[end] != ' ')
            end++;
        sl_str item = sl_str_sub(rest, 0, end);
        if (item.len && !sl_str_eq_c(item, library)) {
            error = sl_buf_put_char(out, ':');
            if (!error)
                error = sl_buf_put_str(out, item);
        }
        rest = sl_str_sub(rest, end + (end < rest.len), rest.len);
    }
    return error;
}
