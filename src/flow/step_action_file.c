/*
 * Action file: read, write, append and list under one folder. The work is done on a thread of the loop's pool.
 *
 * A path is walked folder by folder from the root, each opened by its name alone and never through a symbolic link, so
 * that nothing outside can be reached, whatever somebody changes meanwhile. Only regular files are read and written. A
 * write is seen whole or not at all: a file beside it, synced, takes its place.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/flow/step_action.h"
#include "src/wire/base64.h"

#define READ_BYTES 4096u

typedef enum file_operation { FILE_READ = 0, FILE_WRITE, FILE_APPEND, FILE_LIST, FILE_OPERATIONS } file_operation;

static const char *const operations[FILE_OPERATIONS] = {"read", "write", "append", "list"};

typedef struct file_op {
    sl_action_op op;
    uv_work_t work;
    sl_step_try *attempt; /* NULL: cancelled; the loop's */
    /* Constant while the thread works. */
    char *root, *path;
    file_operation operation;
    bool create_folders;
    bool want_base64;
    char *content;
    size_t content_len;
    /* The thread's, then the loop's. */
    json_t *result, *metadata;
    sl_step_error error;
    char reason[300];
} file_op;

/* ---- failures; on the thread ---- */

static int fail(file_op *f, sl_step_error error, const char *text)
{
    f->error = error;
    (void)snprintf(f->reason, sizeof f->reason, "%.120s: %s", f->path, text);
    return -1;
}

static int fail_errno(file_op *f)
{
    bool outside = errno == ELOOP || errno == ENOTDIR;
    bool wrong = errno == ENOENT || errno == EISDIR || errno == ENAMETOOLONG || errno == EEXIST;
    char text[128];
    const char *why = strerror_r(errno, text, sizeof text);
    return fail(f,
                outside ? SL_STEP_ERROR_FORBIDDEN
                : wrong ? SL_STEP_ERROR_INPUT
                        : SL_STEP_ERROR_INTERNAL,
                errno == ELOOP ? "symbolic links are not followed" : why);
}

/* ---- walking ---- */

static int open_folder(file_op *f, int parent, const char *name, bool create)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && create) {
        if (mkdirat(parent, name, 0777) == 0 || errno == EEXIST)
            fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    }
    if (fd < 0)
        (void)fail_errno(f);
    return fd;
}

/* The next name of a path: false at its end. Empty names and "." are passed over. */
static bool next_name(char **rest, char **ret_name)
{
    char *name;
    do
        name = strsep(rest, "/");
    while (name && (!*name || strcmp(name, ".") == 0));
    *ret_name = name;
    return name != NULL;
}

/* Opens the folder that holds the last name; `*ret_name` is that name, or NULL when the path is the root itself. */
static int open_parent(file_op *f, char *path, const char **ret_name)
{
    char *rest = path, *name, *next;
    unsigned depth = 0;
    *ret_name = NULL;
    if (path[0] == '/')
        return fail(f, SL_STEP_ERROR_FORBIDDEN, "paths are relative to the folder that is allowed");
    int folder = open(f->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return fail_errno(f);
    bool more = next_name(&rest, &name);
    while (more) {
        bool last = !next_name(&rest, &next);
        int inner = -1;
        if (strcmp(name, "..") == 0)
            (void)fail(f, SL_STEP_ERROR_FORBIDDEN, "\"..\" is not allowed");
        else if (++depth > SL_MAX_FLOW_FILE_DEPTH)
            (void)fail(f, SL_STEP_ERROR_INPUT, "too many folders within one another");
        else if (last)
            break;
        else
            inner = open_folder(f, folder, name, f->create_folders && f->operation != FILE_READ);
        (void)close(folder);
        if (inner < 0)
            return -1;
        folder = inner;
        name = next;
    }
    *ret_name = more ? name : NULL;
    return folder;
}

/* Refuses what is no regular file: a device or a pipe could block, or do something. */
static int check_regular(file_op *f, int fd, struct stat *ret_stat)
{
    if (fstat(fd, ret_stat) != 0)
        return fail_errno(f);
    return S_ISREG(ret_stat->st_mode) ? 0 : fail(f, SL_STEP_ERROR_FORBIDDEN, "it is no regular file");
}

/* ---- reading ---- */

/* To its end, whatever its size was said to be: it may grow meanwhile, and some files do not tell. */
static int read_all(file_op *f, int fd, size_t size, char **bytes, size_t *ret_len)
{
    size_t len = 0;
    for (;;) {
        ssize_t n = read(fd, *bytes + len, size - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(f);
        if (n == 0)
            break;
        len += (size_t)n;
        if (len > SL_MAX_FLOW_FILE_BYTES)
            return fail(f, SL_STEP_ERROR_TOO_BIG, "the file is larger than 16 MiB");
        if (len < size)
            continue;
        size = 2 * size < READ_BYTES ? READ_BYTES : 2 * size;
        char *grown = sl_realloc(*bytes, size);
        if (!grown)
            return fail(f, SL_STEP_ERROR_INTERNAL, "out of memory");
        *bytes = grown;
    }
    *ret_len = len;
    return 0;
}

static int give_bytes(file_op *f, sl_str bytes)
{
    bool encoded = f->want_base64;
    if (encoded) {
        sl_buf text;
        sl_buf_init(&text, sl_base64_encoded_len(bytes.len) + 1);
        f->result = sl_base64_encode(&text, bytes) ? NULL : json_stringn_nocheck(text.len ? text.data : "", text.len);
        sl_buf_done(&text);
    } else {
        f->result = sl_action_bytes(bytes, &encoded);
    }
    f->metadata = json_pack("{s:s, s:I, s:b}", "path", f->path, "bytes", (json_int_t)bytes.len, "base64", (int)encoded);
    return f->result && f->metadata ? 0 : fail(f, SL_STEP_ERROR_INTERNAL, "out of memory");
}

static int read_file(file_op *f, int folder, const char *name)
{
    struct stat st;
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return fail_errno(f);
    int error = check_regular(f, fd, &st);
    if (!error && st.st_size > (off_t)SL_MAX_FLOW_FILE_BYTES)
        error = fail(f, SL_STEP_ERROR_TOO_BIG, "the file is larger than 16 MiB");
    size_t size = error ? 0 : (size_t)st.st_size + 1, len = 0; /* one byte more: its end is seen at once */
    char *bytes = error ? NULL : sl_malloc(size);
    if (!error && !bytes)
        error = fail(f, SL_STEP_ERROR_INTERNAL, "out of memory");
    if (!error)
        error = read_all(f, fd, size, &bytes, &len);
    if (!error)
        error = give_bytes(f, sl_str_of(bytes, len));
    sl_free(bytes);
    (void)close(fd);
    return error;
}

/* ---- writing ---- */

static int write_all(file_op *f, int fd)
{
    size_t done = 0;
    while (done < f->content_len) {
        ssize_t n = write(fd, f->content + done, f->content_len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(f);
        done += (size_t)n;
    }
    return fdatasync(fd) == 0 ? 0 : fail_errno(f);
}

/* What stands there must be a regular file, or nothing. */
static int check_target(file_op *f, int folder, const char *name)
{
    struct stat st;
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? 0 : fail_errno(f);
    if (S_ISLNK(st.st_mode))
        return fail(f, SL_STEP_ERROR_FORBIDDEN, "symbolic links are not followed");
    return S_ISREG(st.st_mode) ? 0 : fail(f, SL_STEP_ERROR_FORBIDDEN, "it is no regular file");
}

static int write_file(file_op *f, int folder, const char *name)
{
    char beside[64];
    sl_rng rng;
    sl_rng_init(&rng);
    (void)snprintf(beside, sizeof beside, ".sightline-%016llx.tmp", (unsigned long long)sl_rng_next(&rng));
    if (check_target(f, folder, name))
        return -1;
    int fd = openat(folder, beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0)
        return fail_errno(f);
    int error = write_all(f, fd);
    if (close(fd) != 0 && !error)
        error = fail_errno(f);
    if (!error && renameat(folder, beside, folder, name) != 0)
        error = fail_errno(f);
    if (error)
        (void)unlinkat(folder, beside, 0);
    else if (fsync(folder) != 0)
        error = fail_errno(f);
    return error;
}

static int append_file(file_op *f, int folder, const char *name)
{
    struct stat st;
    int fd = openat(folder, name, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0666);
    if (fd < 0)
        return fail_errno(f);
    int error = check_regular(f, fd, &st);
    if (!error)
        error = write_all(f, fd);
    if (!error && fsync(folder) != 0)
        error = fail_errno(f);
    (void)close(fd);
    return error;
}

/* ---- listing ---- */

static int add_entry(file_op *f, int folder, const char *name)
{
    struct stat st;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return 0;
    if (json_array_size(f->result) >= SL_MAX_FLOW_FILE_ENTRIES)
        return fail(f, SL_STEP_ERROR_TOO_BIG, "the folder has more than 10,000 entries");
    const char *type = S_ISREG(st.st_mode) ? "file" : S_ISDIR(st.st_mode) ? "folder" : "other";
    json_t *entry = sl_utf8_valid(sl_str_c(name)) ? json_pack("{s:s, s:s, s:I}", "name", name, "type", type, "size",
                                                              S_ISREG(st.st_mode) ? (json_int_t)st.st_size : 0)
                                                  : NULL;
    if (!entry) /* a name that JSON cannot hold */
        return 0;
    return json_array_append_new(f->result, entry) ? fail(f, SL_STEP_ERROR_INTERNAL, "out of memory") : 0;
}

static int by_name(const void *a, const void *b)
{
    json_t *const *x = a, *const *y = b;
    return strcmp(json_string_value(json_object_get(*x, "name")), json_string_value(json_object_get(*y, "name")));
}

static int sort_entries(file_op *f)
{
    size_t count = json_array_size(f->result);
    json_t **entries = sl_malloc((count + 1) * sizeof *entries), *list = json_array();
    int error = entries && list ? 0 : fail(f, SL_STEP_ERROR_INTERNAL, "out of memory");
    for (size_t i = 0; !error && i < count; i++)
        entries[i] = json_array_get(f->result, i);
    if (!error)
        qsort(entries, count, sizeof *entries, by_name);
    for (size_t i = 0; !error && i < count; i++)
        if (json_array_append(list, entries[i]))
            error = fail(f, SL_STEP_ERROR_INTERNAL, "out of memory");
    sl_free(entries);
    json_decref(f->result);
    f->result = list;
    return error;
}

static int list_folder(file_op *f, int folder, const char *name)
{
    int fd = name ? open_folder(f, folder, name, false) : fcntl(folder, F_DUPFD_CLOEXEC, 0);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        if (fd >= 0)
            (void)close(fd);
        return f->error ? -1 : fail_errno(f);
    }
    f->result = json_array();
    int error = f->result ? 0 : fail(f, SL_STEP_ERROR_INTERNAL, "out of memory");
    for (struct dirent *entry; !error && (entry = readdir(dir));)
        error = add_entry(f, dirfd(dir), entry->d_name);
    (void)closedir(dir);
    if (!error)
        error = sort_entries(f);
    if (!error)
        f->metadata = json_pack("{s:s, s:I}", "path", f->path, "count", (json_int_t)json_array_size(f->result));
    return error;
}

/* ---- the work ---- */

static int written(file_op *f)
{
    f->result = json_string(f->path);
    f->metadata = json_pack("{s:s, s:I}", "path", f->path, "bytes", (json_int_t)f->content_len);
    return f->result && f->metadata ? 0 : fail(f, SL_STEP_ERROR_INTERNAL, "out of memory");
}

static void work(uv_work_t *request)
{
    file_op *f = request->data;
    const char *name = NULL;
    char *path = sl_strndup(f->path, strlen(f->path));
    int folder = path ? open_parent(f, path, &name) : fail(f, SL_STEP_ERROR_INTERNAL, "out of memory");
    if (folder >= 0) {
        if (!name && f->operation != FILE_LIST)
            (void)fail(f, SL_STEP_ERROR_INPUT, "it names no file");
        else if (f->operation == FILE_READ)
            (void)read_file(f, folder, name);
        else if (f->operation == FILE_LIST)
            (void)list_folder(f, folder, name);
        else if ((f->operation == FILE_WRITE ? write_file(f, folder, name) : append_file(f, folder, name)) == 0)
            (void)written(f);
        (void)close(folder);
    }
    sl_free(path);
}

static void file_free(file_op *f)
{
    json_decref(f->result);
    json_decref(f->metadata);
    sl_free(f->content);
    sl_free(f->path);
    sl_free(f->root);
    sl_free(f);
}

static void after_work(uv_work_t *request, int status)
{
    file_op *f = request->data;
    sl_step_try *attempt = f->attempt;
    if (attempt && (status || f->error)) {
        attempt->data = NULL;
        sl_step_fail(attempt, status ? SL_STEP_ERROR_INTERNAL : f->error, "file %s %s", operations[f->operation],
                     status ? uv_strerror(status) : f->reason);
    } else if (attempt) {
        json_t *result = f->result, *metadata = f->metadata;
        f->result = f->metadata = NULL;
        sl_action_succeed(attempt, result, metadata);
    }
    file_free(f);
}

/* The thread is not interrupted; what it gives is thrown away. */
static void cancel_file(sl_action_op *op)
{
    file_op *f = (file_op *)op;
    f->attempt = NULL;
    (void)uv_cancel((uv_req_t *)&f->work);
}

/* ---- starting ---- */

static bool read_operation(sl_step_try *attempt, file_operation *ret_operation)
{
    sl_str text;
    if (!sl_action_text(attempt, "operation", SL_STR("read"), &text))
        return false;
    for (unsigned i = 0; i < FILE_OPERATIONS; i++)
        if (sl_str_eq_c(text, operations[i])) {
            *ret_operation = (file_operation)i;
            return true;
        }
    sl_step_fail(attempt, SL_STEP_ERROR_INPUT, "operation must be read, write, append or list");
    return false;
}

/* Copies the content, decoded when it is base64. */
static const char *read_content(file_op *f, const sl_step_try *attempt)
{
    char *memory = NULL;
    sl_str text;
    bool is_json;
    const char *wrong = NULL;
    if (!sl_action_body(json_object_get(attempt->params, "content"), &text, &memory, &is_json))
        return "out of memory";
    if (text.len > (f->want_base64 ? sl_base64_encoded_len(SL_MAX_FLOW_FILE_BYTES) : SL_MAX_FLOW_FILE_BYTES))
        wrong = "the content is larger than 16 MiB";
    f->content = wrong ? NULL : sl_malloc(text.len + 3);
    if (!wrong && !f->content)
        wrong = "out of memory";
    f->content_len = text.len;
    if (!wrong && f->want_base64 && sl_base64_decode(text, (uint8_t *)f->content, &f->content_len))
        wrong = "the content is no base64";
    else if (!wrong && !f->want_base64 && text.len)
        memcpy(f->content, text.ptr, text.len);
    free(memory);
    return wrong;
}

static void start(sl_step_try *attempt, file_operation operation, sl_str path, bool base64)
{
    const char *root = attempt->services->file_root;
    file_op *f = sl_calloc(1, sizeof *f);
    if (!f) {
        sl_step_fail(attempt, SL_STEP_ERROR_INTERNAL, "out of memory");
        return;
    }
    f->op.cancel = cancel_file;
    f->attempt = attempt;
    f->operation = operation;
    f->want_base64 = base64;
    f->create_folders = json_is_true(json_object_get(attempt->params, "create_folders"));
    f->root = sl_strndup(root, strlen(root));
    f->path = sl_strndup(path.len ? path.ptr : "", path.len);
    const char *wrong = f->root && f->path ? read_content(f, attempt) : "out of memory";
    f->work.data = f;
    if (!wrong && uv_queue_work(&attempt->loop->uv, &f->work, work, after_work))
        wrong = "out of memory";
    if (wrong) {
        file_free(f);
        sl_step_fail(attempt, SL_STEP_ERROR_INPUT, "file: %s", wrong);
        return;
    }
    attempt->data = f;
}

void sl_action_file(sl_step_try *attempt)
{
    SL_ASSERT(attempt);
    file_operation operation;
    sl_str path, encoding;
    if (!attempt->services->file_root) {
        sl_step_fail(attempt, SL_STEP_ERROR_FORBIDDEN, "files are not allowed: no folder is configured for them");
        return;
    }
    if (!read_operation(attempt, &operation) ||
        !sl_action_text(attempt, "path", operation == FILE_LIST ? SL_STR(".") : sl_str_of(NULL, 0), &path) ||
        !sl_action_text(attempt, "encoding", SL_STR("text"), &encoding))
        return;
    bool base64 = sl_str_eq(encoding, SL_STR("base64"));
    if (!base64 && !sl_str_eq(encoding, SL_STR("text")))
        sl_step_fail(attempt, SL_STEP_ERROR_INPUT, "encoding must be text or base64");
    else if (!path.len || memchr(path.ptr, '\0', path.len))
        sl_step_fail(attempt, SL_STEP_ERROR_INPUT, "path is missing, or contains NUL");
    else
        start(attempt, operation, path, base64);
}
