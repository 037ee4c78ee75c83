/* The routes of llama-server and of llama-cpp-python's server: what may stand in a label, and what is asked for there.
 */
#include "src/base/assert.h"
#include "src/base/str.h"
#include "src/probe/probe_metrics.h"

static const struct {
    const char *path, *operation;
} routes[] = {
    {"/v1/chat/completions", "chat"},
    {"/chat/completions", "chat"},
    {"/api/chat", "chat"},
    {"/v1/messages", "chat"},
    {"/v1/responses", "chat"},
    {"/responses", "chat"},
    {"/completion", "text_completion"},
    {"/completions", "text_completion"},
    {"/v1/completions", "text_completion"},
    {"/infill", "text_completion"},
    {"/embedding", "embeddings"},
    {"/embeddings", "embeddings"},
    {"/v1/embeddings", "embeddings"},
    {"/rerank", ""},
    {"/reranking", ""},
    {"/v1/rerank", ""},
    {"/v1/reranking", ""},
    {"/v1/messages/count_tokens", ""},
    {"/tokenize", ""},
    {"/detokenize", ""},
    {"/apply-template", ""},
    {"/extras/tokenize", ""},
    {"/extras/tokenize/count", ""},
    {"/extras/detokenize", ""},
    {"/lora-adapters", ""},
    {"/models", ""},
    {"/v1/models", ""},
    {"/models/load", ""},
    {"/models/unload", ""},
    {"/api/show", ""},
    {"/api/tags", ""},
    {"/props", ""},
    {"/slots", ""},
    {"/metrics", ""},
    {"/health", ""},
    {"/v1/health", ""},
    {"/", ""},
};
#define ROUTES (sizeof routes / sizeof *routes)

sl_str sl_probe_route_known(sl_str path)
{
    SL_ASSERT(path.ptr || !path.len);
    size_t query = sl_str_chr(path, '?');
    if (query != SL_NPOS)
        path.len = query;
    for (size_t i = 0; i < ROUTES; i++) {
        if (sl_str_eq_c(path, routes[i].path))
            return sl_str_c(routes[i].path);
    }
    sl_str slot = SL_STR("/slots/");
    if (!sl_str_starts(path, slot) || path.len == slot.len)
        return SL_STR("");
    bool rest_is_known = sl_str_chr(sl_str_sub(path, slot.len, SL_NPOS), '/') == SL_NPOS;
    return rest_is_known ? SL_STR("/slots/{id}") : SL_STR("");
}

sl_str sl_probe_route_operation(sl_str route)
{
    SL_ASSERT(route.ptr || !route.len);
    for (size_t i = 0; i < ROUTES; i++) {
        if (sl_str_eq_c(route, routes[i].path))
            return sl_str_c(routes[i].operation);
    }
    return SL_STR("");
}
