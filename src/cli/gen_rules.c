/* Prometheus rules. */
#include "src/cli/gen.h"
#include "src/wire/json_write.h"

typedef struct group {
    const char *set, *name, *interval, *file, *note;
} group;

typedef struct rule {
    const char *set, *alert, *expression, *duration, *severity, *summary, *description;
} rule;

#define SL_RULE(...)
#define SL_FOREIGN_METRIC(name)
#define SL_RULE_GROUP(set, name, interval, file, note) {#set, name, interval, file, note},
static const group groups[] = {
#include "src/cli/gen_rules.def"
};
#undef SL_RULE_GROUP
#undef SL_RULE
#define SL_RULE_GROUP(...)
#define SL_RULE(set, alert, expression, duration, severity, summary, description)                                      \
    {#set, alert, expression, duration, severity, summary, description},
static const rule rules[] = {
#include "src/cli/gen_rules.def"
};
#undef SL_RULE
#undef SL_RULE_GROUP
#undef SL_FOREIGN_METRIC

#define GROUPS (sizeof groups / sizeof groups[0])
#define RULES (sizeof rules / sizeof rules[0])

static size_t count(void)
{
    return GROUPS;
}

static const char *item(size_t index)
{
    SL_ASSERT(index < GROUPS);
    return groups[index].set;
}

static const char *file(size_t index)
{
    SL_ASSERT(index < GROUPS);
    return groups[index].file;
}

/* Lines of a text, each behind `before`. */
static void put_lines(sl_buf *out, const char *text, const char *before)
{
    sl_str rest = sl_str_c(text), line;
    while (rest.len && sl_str_split(&rest, '\n', &line)) {
        (void)sl_buf_put_c(out, before);
        (void)sl_buf_put_str(out, line);
        (void)sl_buf_put_char(out, '\n');
    }
}

/* `name: "text"`; a JSON string is one of YAML. */
static void put_text(sl_buf *out, const char *name, const char *text)
{
    SL_ASSERT(name && text);
    (void)sl_buf_printf(out, "      %s: ", name);
    (void)sl_json_put_string(out, sl_str_c(text));
    (void)sl_buf_put_char(out, '\n');
}

static void put_rule(sl_buf *out, const rule *r)
{
    SL_ASSERT(out && r);
    (void)sl_buf_printf(out, "  - alert: %s\n    expr: |\n", r->alert);
    put_lines(out, r->expression, "      ");
    (void)sl_buf_printf(out, "    for: %s\n    labels:\n      severity: %s\n    annotations:\n", r->duration,
                        r->severity);
    put_text(out, "summary", r->summary);
    if (r->description[0])
        put_text(out, "description", r->description);
}

static void put_group(sl_buf *out, const group *g)
{
    SL_ASSERT(out && g);
    put_lines(out, g->note, "# ");
    (void)sl_buf_printf(out, "- name: %s\n", g->name);
    if (g->interval[0])
        (void)sl_buf_printf(out, "  interval: %s\n", g->interval);
    (void)sl_buf_put_c(out, "  rules:\n");
    for (size_t i = 0; i < RULES; i++) {
        if (strcmp(rules[i].set, g->set) == 0)
            put_rule(out, &rules[i]);
    }
}

static int print(size_t index, sl_buf *out)
{
    SL_ASSERT(index < GROUPS);
    (void)sl_buf_printf(out, "# Made by `sightline gen prometheus-rules %s`.\ngroups:\n", groups[index].set);
    put_group(out, &groups[index]);
    return out->failed;
}

static int print_all(sl_buf *out)
{
    (void)sl_buf_put_c(
        out, "# Made by `sightline gen prometheus-rules`. Two guides have a HighErrorRate: where promtool's lint\n"
             "# minds, load the sets as files of their own.\ngroups:\n");
    for (size_t i = 0; i < GROUPS; i++)
        put_group(out, &groups[i]);
    return out->failed;
}

const sl_gen_kind sl_gen_rules = {"prometheus-rules", "prometheus", count, item, file, print, print_all};
