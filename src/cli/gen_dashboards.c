/* Grafana dashboards. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/cli/gen.h"

#define SCHEMA_VERSION 39 /* of Grafana 11 and later, which convert it */
#define WIDTH 12          /* of a panel; a row is 24 */
#define HEIGHT 8

enum { PLAIN, STACKED, SHARE };

/* Rows of gen_panels.def in their order. */
typedef struct row {
    enum { DASHBOARD, PANEL, QUERY } kind;
    const char *name, *title, *type; /* QUERY: expression and legend in `name` and `title`; DASHBOARD: tag in `type` */
    const char *unit;                /* DASHBOARD: its file */
    int look;
} row;

#define SL_DASHBOARD(name, title, tag) {DASHBOARD, name, title, tag, name ".json", 0},
#define SL_PANEL(dashboard, title, type, unit, look) {PANEL, dashboard, title, type, unit, look},
#define SL_QUERY(expression, legend) {QUERY, expression, legend, NULL, NULL, 0},
static const row rows[] = {
#include "src/cli/gen_panels.def"
};
#undef SL_DASHBOARD
#undef SL_PANEL
#undef SL_QUERY
#define ROWS (sizeof rows / sizeof rows[0])

/* The row of a dashboard. */
static size_t row_of(size_t index)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (rows[i].kind == DASHBOARD && index-- == 0)
            return i;
    }
    return ROWS;
}

static size_t count(void)
{
    size_t n = 0;
    for (size_t i = 0; i < ROWS; i++)
        n += rows[i].kind == DASHBOARD;
    return n;
}

static const char *item(size_t index)
{
    SL_ASSERT(index < count());
    return rows[row_of(index)].name;
}

static const char *file(size_t index)
{
    SL_ASSERT(index < count());
    return rows[row_of(index)].unit;
}

static json_t *datasource(void)
{
    return json_pack("{s:s, s:s}", "type", "prometheus", "uid", "${datasource}");
}

/* The queries behind the row of a panel. */
static json_t *targets_of(size_t panel)
{
    SL_ASSERT(rows[panel].kind == PANEL);
    json_t *targets = json_array();
    for (size_t i = panel + 1; i < ROWS && rows[i].kind == QUERY; i++) {
        char id[2] = {(char)('A' + (i - panel - 1)), 0};
        json_t *target = json_pack("{s:s, s:o, s:s, s:b}", "refId", id, "datasource", datasource(), "expr",
                                   rows[i].name, "range", 1);
        if (rows[i].title[0])
            (void)json_object_set_new(target, "legendFormat", json_string(rows[i].title));
        (void)json_array_append_new(targets, target);
    }
    return targets;
}

static json_t *field_config(const row *panel)
{
    json_t *custom = json_object();
    json_t *defaults = json_pack("{s:s}", "unit", panel->unit);
    if (panel->look == STACKED) {
        (void)json_object_set_new(custom, "fillOpacity", json_integer(40));
        (void)json_object_set_new(custom, "stacking", json_pack("{s:s, s:s}", "mode", "normal", "group", "A"));
    }
    if (panel->look == SHARE) {
        (void)json_object_set_new(defaults, "min", json_integer(0));
        (void)json_object_set_new(defaults, "max", json_integer(1));
    }
    (void)json_object_set_new(defaults, "custom", custom);
    return json_pack("{s:o, s:[]}", "defaults", defaults, "overrides");
}

static json_t *panel_of(size_t at, int number)
{
    SL_ASSERT(number >= 0);
    const row *panel = &rows[at];
    json_t *place =
        json_pack("{s:i, s:i, s:i, s:i}", "h", HEIGHT, "w", WIDTH, "x", number % 2 * WIDTH, "y", number / 2 * HEIGHT);
    return json_pack("{s:i, s:s, s:s, s:o, s:o, s:o, s:o, s:{}}", "id", number + 1, "type", panel->type, "title",
                     panel->title, "datasource", datasource(), "gridPos", place, "targets", targets_of(at),
                     "fieldConfig", field_config(panel), "options");
}

static json_t *panels_of(size_t dashboard)
{
    json_t *panels = json_array();
    int number = 0;
    for (size_t i = dashboard + 1; i < ROWS && rows[i].kind != DASHBOARD; i++) {
        if (rows[i].kind == PANEL)
            (void)json_array_append_new(panels, panel_of(i, number++));
    }
    return panels;
}

/* Asks for the data source on import, and lets it be changed above the panels. */
static json_t *templating(void)
{
    return json_pack("{s:[{s:s, s:s, s:s, s:s}]}", "list", "name", "datasource", "label", "Data source", "type",
                     "datasource", "query", "prometheus");
}

static json_t *dashboard_of(size_t index)
{
    size_t at = row_of(index);
    SL_ASSERT(at < ROWS);
    char uid[48];
    (void)snprintf(uid, sizeof uid, "sightline-%s", rows[at].name);
    json_t *range = json_pack("{s:s, s:s}", "from", "now-1h", "to", "now");
    return json_pack("{s:s, s:s, s:[s, s], s:i, s:b, s:i, s:s, s:s, s:o, s:o, s:o}", "uid", uid, "title",
                     rows[at].title, "tags", "sightline", rows[at].type, "schemaVersion", SCHEMA_VERSION, "editable", 1,
                     "graphTooltip", 1, "timezone", "browser", "refresh", "30s", "time", range, "templating",
                     templating(), "panels", panels_of(at));
}

static int dump(json_t *value, sl_buf *out)
{
    char *text = json_dumps(value, JSON_INDENT(2));
    int error = text ? sl_buf_put_c(out, text) : SL_ENOMEM;
    if (!error)
        error = sl_buf_put_char(out, '\n');
    free(text);
    json_decref(value);
    return error;
}

static int print(size_t index, sl_buf *out)
{
    return dump(dashboard_of(index), out);
}

static int print_all(sl_buf *out)
{
    json_t *all = json_array();
    for (size_t i = 0; i < count(); i++)
        (void)json_array_append_new(all, dashboard_of(i));
    return dump(all, out);
}

const sl_gen_kind sl_gen_dashboards = {"dashboards", "grafana", count, item, file, print, print_all};
