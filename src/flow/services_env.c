/* Services from the environment. */
#include "src/flow/services_env.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "src/base/mem.h"
#include "src/store/pgvector.h"
#include "src/wire/url.h"

/* What the services point to: copies, so that nobody's setenv pulls them away. */
typedef struct memory {
    sl_flow_webhook webhooks[SL_FLOW_MAX_ALLOWED];
    char *texts[8];
    size_t text_count;
    sl_pgvector *pgvector;
} memory;

static int fail(char *reason, const char *name, const char *text)
{
    (void)snprintf(reason, SL_SERVICES_REASON, "%s: %s", name, text);
    return SL_ECONFIG;
}

/* A copy of a variable; NULL when it is not set, or empty. False: no memory. */
static bool copied(memory *m, const char *name, char **ret_text)
{
    const char *value = getenv(name);
    *ret_text = NULL;
    if (!value || !*value)
        return true;
    SL_ASSERT(m->text_count < sizeof m->texts / sizeof *m->texts);
    *ret_text = m->texts[m->text_count] = sl_strndup(value, strlen(value));
    m->text_count += *ret_text != NULL;
    return *ret_text != NULL;
}

/* Parts of a text, which is cut into them. */
static int split(char *text, const char *separators, const char **items, size_t *ret_count, const char *name,
                 char *reason)
{
    char *rest = text, *part;
    size_t count = 0;
    while ((part = strsep(&rest, separators))) {
        if (!*part)
            continue;
        if (count == SL_FLOW_MAX_ALLOWED)
            return fail(reason, name, "has more than 64 entries; leave some out");
        items[count++] = part;
    }
    *ret_count = count;
    return 0;
}

static int read_programs(sl_flow_services *s, memory *m, char *reason)
{
    static const char name[] = "SIGHTLINE_STEP_EXEC";
    char *text;
    if (!copied(m, name, &text))
        return SL_ENOMEM;
    if (!text || s->exec_allowed_count)
        return 0;
    int error = split(text, ",", s->exec_allowed, &s->exec_allowed_count, name, reason);
    for (size_t i = 0; !error && i < s->exec_allowed_count; i++)
        if (s->exec_allowed[i][0] != '/')
            error = fail(reason, name, "a program is no absolute path; give such as /usr/bin/jq");
    return error;
}

static int read_hosts(sl_flow_services *s, memory *m, char *reason)
{
    static const char name[] = "SIGHTLINE_STEP_HOSTS";
    char *text;
    if (!copied(m, name, &text))
        return SL_ENOMEM;
    if (!text || s->http_allowed_count)
        return 0;
    int error = split(text, ",", s->http_allowed, &s->http_allowed_count, name, reason);
    if (!error && s->http_allowed_count == 0) /* it was meant to allow little, not all */
        error = fail(reason, name, "names no host; unset it to allow all");
    return error;
}

static bool is_name(const char *text)
{
    size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.");
    return len > 0 && text[len] == '\0';
}

static int read_webhooks(sl_flow_services *s, memory *m, char *reason)
{
    static const char name[] = "SIGHTLINE_WEBHOOKS";
    char *text, *secret;
    const char *entries[SL_FLOW_MAX_ALLOWED];
    size_t count = 0;
    if (!copied(m, name, &text) || !copied(m, "SIGHTLINE_WEBHOOK_SECRET", &secret))
        return SL_ENOMEM;
    if (!text || s->webhook_count)
        return 0;
    int error = split(text, " \t\n", entries, &count, name, reason);
    for (size_t i = 0; !error && i < count; i++) {
        char *equals = (char *)(uintptr_t)strchr(entries[i], '=');
        sl_url url;
        if (equals)
            *equals = '\0';
        if (!equals || !is_name(entries[i]) || sl_url_parse(sl_str_c(equals + 1), &url, NULL))
            error = fail(reason, name, "an entry is not NAME=URL; give such as publish=https://HOST/PATH");
        else
            m->webhooks[i] = (sl_flow_webhook){entries[i], equals + 1, secret};
    }
    if (!error) {
        s->webhooks = m->webhooks;
        s->webhook_count = count;
    }
    return error;
}

static int read_qdrant(sl_flow_services *s, memory *m, char *reason)
{
    char *text, *key;
    sl_url url;
    if (!copied(m, "QDRANT_URL", &text) || !copied(m, "QDRANT_API_KEY", &key))
        return SL_ENOMEM;
    if (!text || s->qdrant_url)
        return 0;
    if (sl_url_parse(sl_str_c(text), &url, NULL))
        return fail(reason, "QDRANT_URL", "is no URL; give such as http://127.0.0.1:6333");
    s->qdrant_url = text;
    s->qdrant_key = key;
    return 0;
}

/* Neither connects nor looks for the client library: a process that never searches there needs neither. */
static int read_pgvector(sl_flow_services *s, memory *m, char *reason)
{
    char *text;
    if (!copied(m, "PGVECTOR_URL", &text))
        return SL_ENOMEM;
    if (!text || s->pgvector)
        return 0;
    bool url = strncmp(text, "postgres://", 11) == 0 || strncmp(text, "postgresql://", 13) == 0;
    if (!url && (strstr(text, "://") || !strchr(text, '=')))
        return fail(
            reason, "PGVECTOR_URL",
            "is no connection string; give such as postgres://USER@HOST/DATABASE or \"host=HOST dbname=DATABASE\"");
    sl_pgvector_options options = {.conninfo = text};
    if (sl_pgvector_new(&options, &m->pgvector))
        return SL_ENOMEM;
    s->pgvector = m->pgvector;
    return 0;
}

static int read_root(sl_flow_services *s, memory *m, char *reason)
{
    static const char name[] = "SIGHTLINE_STEP_FILE_ROOT";
    char *text;
    struct stat file;
    if (!copied(m, name, &text))
        return SL_ENOMEM;
    if (!text || s->file_root)
        return 0;
    if (stat(text, &file) != 0 || !S_ISDIR(file.st_mode))
        return fail(reason, name, "is no folder; make it, or give one that is there");
    s->file_root = text;
    return 0;
}

int sl_flow_services_from_env(sl_flow_services *services, char *reason)
{
    SL_ASSERT(services && reason && !services->memory);
    memory *m = sl_calloc(1, sizeof *m);
    (void)snprintf(reason, SL_SERVICES_REASON, "out of memory");
    if (!m)
        return SL_ENOMEM;
    services->memory = m;
    int error = read_root(services, m, reason);
    if (!error)
        error = read_programs(services, m, reason);
    if (!error)
        error = read_hosts(services, m, reason);
    if (!error)
        error = read_webhooks(services, m, reason);
    if (!error)
        error = read_qdrant(services, m, reason);
    if (!error)
        error = read_pgvector(services, m, reason);
    return error;
}

void sl_flow_services_done(sl_flow_services *services)
{
    SL_ASSERT(services);
    memory *m = services->memory;
    for (size_t i = 0; m && i < m->text_count; i++)
        sl_free(m->texts[i]);
    if (m && m->pgvector) {
        sl_pgvector_close(m->pgvector);
        services->pgvector = NULL;
    }
    sl_free(m);
    services->memory = NULL;
}
