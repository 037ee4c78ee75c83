/* Loading a workflow: the passes in their order, and what they share. */
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/assert.h"
#include "src/base/hash.h"
#include "src/base/mem.h"
#include "src/flow/load_draft.h"
#include "src/flow/model_impl.h"

#define SCRATCH_BYTES ((size_t)1 << 30) /* a limit on values bounds it below that */

/* ---- what the passes share ---- */

static void add_problem(sl_loader *loader, sl_problem_level level, const sl_draft *draft, unsigned line,
                        unsigned column, const char *format, va_list args)
{
    SL_ASSERT(loader && format);
    sl_problems_add(loader->problems, level, draft ? draft->step.id : NULL, line, column, format, args);
}

void sl_load_error(sl_loader *loader, const sl_draft *draft, const sl_node *at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_problem(loader, SL_PROBLEM_ERROR, draft, at ? at->line : 0, at ? at->column : 0, format, args);
    va_end(args);
}

void sl_load_warning(sl_loader *loader, const sl_draft *draft, const sl_node *at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_problem(loader, SL_PROBLEM_WARNING, draft, at ? at->line : 0, at ? at->column : 0, format, args);
    va_end(args);
}

void sl_load_problem_in(sl_loader *loader, sl_problem_level level, const sl_draft *draft, const sl_node *at,
                        unsigned line, unsigned column, const char *format, ...)
{
    SL_ASSERT(loader && at);
    unsigned file_line = at->line, file_column = at->column;
    if (sl_problems_room(loader->problems, level))
        sl_tree_place(&loader->tree, at, line, column, &file_line, &file_column);
    va_list args;
    va_start(args, format);
    add_problem(loader, level, draft, file_line, file_column, format, args);
    va_end(args);
}

void *sl_load_alloc(sl_loader *loader, size_t count, size_t size)
{
    SL_ASSERT(loader && size > 0);
    void *ptr = count <= SIZE_MAX / size ? sl_arena_zalloc(loader->scratch, count * size) : NULL;
    if (!ptr)
        loader->failed = SL_ENOMEM;
    return ptr;
}

const char *sl_load_keep(sl_loader *loader, sl_str text)
{
    SL_ASSERT(loader);
    sl_str copy = sl_arena_dup(loader->keep, text);
    if (copy.ptr)
        return copy.ptr;
    loader->failed = SL_ENOMEM;
    return "";
}

bool sl_load_grow(sl_loader *loader, void *array, size_t count, size_t *room)
{
    SL_ASSERT(loader && array && room && count <= *room);
    if (count < *room)
        return true;
    size_t more = *room ? 2 * *room : 8;
    void *grown = sl_load_alloc(loader, more, sizeof(void *)), *old;
    if (!grown)
        return false;
    memcpy(&old, array, sizeof old);
    if (count)
        memcpy(grown, old, count * sizeof(void *));
    memcpy(array, &grown, sizeof grown);
    *room = more;
    return true;
}

sl_draft *sl_load_find(const sl_loader *loader, sl_str id)
{
    SL_ASSERT(loader);
    for (size_t i = 0; i < loader->table_size; i++) {
        sl_draft *draft = loader->table[(sl_hash_str(id) + i) & (loader->table_size - 1)];
        if (!draft || sl_str_eq_c(id, draft->step.id))
            return draft;
    }
    return NULL;
}

sl_draft *sl_load_within(sl_draft *inner, const sl_draft_block *block)
{
    SL_ASSERT(block);
    while (inner && inner->block != block)
        inner = inner->block->owner;
    return inner;
}

/* ---- loading ---- */

static void free_draft(sl_draft *draft)
{
    SL_ASSERT(draft);
    for (size_t i = 0; i < draft->text_count; i++)
        sl_template_free(draft->texts[i]);
    draft->text_count = 0;
    json_decref(draft->step.params);
    sl_condition_free(draft->step.condition);
    sl_condition_free(draft->step.chooser);
    for (size_t i = 0; i < draft->block_count; i++)
        sl_free(draft->blocks[i].before);
}

static void run_passes(sl_loader *loader, sl_str text)
{
    SL_ASSERT(loader);
    loader->tree.arena = loader->scratch;
    loader->tree.problems = loader->problems;
    int error = sl_tree_read(&loader->tree, text);
    if (error) {
        loader->failed = error == SL_ECONFIG ? 0 : error;
        return;
    }
    sl_load_workflow_keys(loader);
    sl_load_collect(loader);
    for (size_t i = 0; i < loader->count && !loader->failed; i++)
        sl_load_step_keys(loader, loader->all[i]);
    if (loader->stopped || loader->failed)
        return;
    sl_validate_graph(loader);
    if (!loader->failed)
        sl_validate_refs(loader);
    if (!loader->failed && !loader->problems->errors)
        sl_load_publish(loader);
}

static int hash_source(sl_flow *flow, sl_str text)
{
    SL_ASSERT(flow);
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (!EVP_Digest(text.len ? text.ptr : "", text.len, digest, &len, EVP_sha256(), NULL) || len != 32)
        return SL_ENOMEM;
    sl_hex_encode(digest, len, flow->hash);
    flow->hash[64] = '\0';
    flow->source = sl_strndup(text.ptr, text.len);
    flow->source_len = text.len;
    return flow->source ? 0 : SL_ENOMEM;
}

static int load(sl_str text, const sl_flow_known *known, sl_flow_problems *problems, sl_flow *flow)
{
    SL_ASSERT(problems && flow);
    sl_arena scratch;
    sl_arena_init(&scratch, 64 * 1024, SCRATCH_BYTES);
    sl_loader loader = {.keep = sl_flow_arena(flow), .scratch = &scratch, .flow = flow, .problems = problems};
    loader.known = known;
    loader.root.name = "";
    loader.failed = hash_source(flow, text);
    if (!loader.failed)
        run_passes(&loader, text);
    for (size_t i = 0; i < loader.count; i++)
        free_draft(loader.all[i]);
    sl_free(loader.root.before);
    sl_arena_done(&scratch);
    sl_problems_sort(problems);
    flow->problem_count = problems->count + problems->left_out;
    if (loader.failed)
        return loader.failed;
    return problems->errors ? SL_ECONFIG : 0;
}

static void tell(sl_flow_problems *problems, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void tell(sl_flow_problems *problems, const char *format, ...)
{
    SL_ASSERT(problems);
    va_list args;
    va_start(args, format);
    sl_problems_add(problems, SL_PROBLEM_ERROR, NULL, 0, 0, format, args);
    va_end(args);
}

int sl_flow_load_known(sl_str text, const sl_flow_known *known, sl_flow_problems *problems, sl_flow **ret_flow)
{
    SL_ASSERT(problems && ret_flow && (text.ptr || !text.len));
    memset(problems, 0, sizeof *problems);
    if (text.len > SL_MAX_FLOW_BYTES) {
        tell(problems, "the file: larger than %u bytes; split the workflow", SL_MAX_FLOW_BYTES);
        return SL_ETOOBIG;
    }
    sl_flow *flow = sl_flow_new();
    if (!flow)
        return SL_ENOMEM;
    int error = load(text, known, problems, flow);
    if (error)
        sl_flow_unref(flow);
    else
        *ret_flow = flow;
    return error;
}

int sl_flow_load(sl_str text, sl_flow_problems *problems, sl_flow **ret_flow)
{
    return sl_flow_load_known(text, NULL, problems, ret_flow);
}

/* Reads one byte more than is allowed, so that what is too large shows. */
static int read_file(const char *path, sl_buf *out)
{
    SL_ASSERT(path && out);
    FILE *file = fopen(path, "rb");
    if (!file)
        return SL_EIO;
    int error = 0;
    while (!error && out->len <= SL_MAX_FLOW_BYTES) {
        error = sl_buf_reserve(out, 64 * 1024);
        if (error)
            break;
        size_t got = fread(out->data + out->len, 1, 64 * 1024, file);
        out->len += got;
        if (got == 0) {
            error = ferror(file) ? SL_EIO : 0;
            break;
        }
    }
    int failed = errno;
    fclose(file);
    errno = failed;
    return error;
}

int sl_flow_load_file_known(const char *path, const sl_flow_known *known, sl_flow_problems *problems,
                            sl_flow **ret_flow)
{
    SL_ASSERT(path && problems && ret_flow);
    memset(problems, 0, sizeof *problems);
    sl_buf text;
    sl_buf_init(&text, SL_MAX_FLOW_BYTES + 256 * 1024);
    errno = 0;
    int error = read_file(path, &text);
    if (error == SL_EIO)
        tell(problems, "the file: cannot be read: %s; check path and permissions", strerror(errno ? errno : EIO));
    if (!error)
        error = sl_flow_load_known(sl_buf_str(&text), known, problems, ret_flow);
    sl_buf_done(&text);
    return error;
}

int sl_flow_load_file(const char *path, sl_flow_problems *problems, sl_flow **ret_flow)
{
    return sl_flow_load_file_known(path, NULL, problems, ret_flow);
}
