/* Typed reading of the keys of a workflow and of its steps, by the table of keys. */
#include "src/base/assert.h"
#include "src/flow/expr_functions.h"
#include "src/flow/load_draft.h"
#include "src/flow/step.h"

static bool is_scalar(const sl_node *node)
{
    return node->type != SL_NODE_LIST && node->type != SL_NODE_MAP;
}

/* ---- what a value must be ---- */

static void wrong_type(sl_loader *loader, const sl_draft *draft, const sl_flow_key *key, const sl_node *node,
                       const char *wanted)
{
    SL_ASSERT(key && node && wanted);
    if (is_scalar(node) && node->text.len)
        sl_load_error(loader, draft, node, "%s: \"%.*s\" is %s; give %s", key->name, SL_SHOWN(node->text),
                      sl_node_type_name(node), wanted);
    else
        sl_load_error(loader, draft, node, "%s: %s; give %s", key->name, sl_node_type_name(node), wanted);
}

/* A number that is one, within the key's range. */
static bool check_number(sl_loader *loader, const sl_draft *draft, const sl_flow_key *key, const sl_node *node,
                         double *ret_value)
{
    SL_ASSERT(key && node && ret_value);
    bool whole = key->type == SL_FLOW_WHOLE;
    if (node->type != SL_NODE_INT && (whole || node->type != SL_NODE_REAL)) {
        wrong_type(loader, draft, key, node, whole ? "a whole number" : "a number");
        return false;
    }
    double value = node->type == SL_NODE_INT ? (double)node->is.whole : node->is.real;
    if ((key->min != 0 || key->max != 0) && !(value >= key->min && value <= key->max)) {
        sl_load_error(loader, draft, node, "%s: %.*s is out of range; give %.15g to %.15g", key->name,
                      SL_SHOWN(node->text), key->min, key->max);
        return false;
    }
    *ret_value = value;
    return true;
}

/* Every item a text that is not empty, none of them twice. */
static bool check_words(sl_loader *loader, const sl_draft *draft, const sl_flow_key *key, const sl_node *node)
{
    SL_ASSERT(key->type == SL_FLOW_WORDS);
    size_t count = node->type == SL_NODE_LIST ? node->is.list.count : 1;
    bool good = node->type != SL_NODE_MAP;
    for (size_t i = 0; good && i < count; i++) {
        const sl_node *item = node->type == SL_NODE_LIST ? node->is.list.items[i] : node;
        good = is_scalar(item) && item->type != SL_NODE_NULL && item->text.len > 0;
        if (!good)
            node = item;
    }
    if (!good)
        wrong_type(loader, draft, key, node, "a name, or a list of names");
    return good;
}

static bool check_function(sl_loader *loader, const sl_draft *draft, const sl_flow_key *key, const sl_node *node)
{
    SL_ASSERT(key->type == SL_FLOW_FUNCTION);
    if (node->type != SL_NODE_TEXT) {
        wrong_type(loader, draft, key, node, "the name of a function");
        return false;
    }
    size_t count;
    const sl_transform_def *defs = sl_transform_defs(&count);
    sl_suggestion suggestion;
    sl_suggest_init(&suggestion, node->text);
    for (size_t i = 0; i < count; i++) {
        if (sl_str_eq_c(node->text, defs[i].name))
            return true;
        sl_suggest_offer(&suggestion, defs[i].name);
    }
    if (sl_node_has_template(node) || sl_flow_function_find(node->text))
        return true;
    const sl_flow_function *functions = sl_flow_functions(&count);
    for (size_t i = 0; i < count; i++)
        sl_suggest_offer(&suggestion, functions[i].name);
    if (suggestion.best)
        sl_load_error(loader, draft, node, "function: \"%.*s\" is not known; did you mean %s?", SL_SHOWN(node->text),
                      suggestion.best);
    else
        sl_load_error(loader, draft, node, "function: \"%.*s\" is not known; see the reference for those there are",
                      SL_SHOWN(node->text));
    return false;
}

static bool check_provider(sl_loader *loader, const sl_draft *draft, const sl_node *node)
{
    SL_ASSERT(loader && node);
    const sl_flow_known *known = loader->known;
    if (!known || !known->provider_count || sl_node_has_template(node))
        return true;
    sl_suggestion suggestion;
    sl_suggest_init(&suggestion, node->text);
    for (size_t i = 0; i < known->provider_count; i++) {
        if (sl_str_eq_c(node->text, known->providers[i]))
            return true;
        sl_suggest_offer(&suggestion, known->providers[i]);
    }
    if (suggestion.best)
        sl_load_error(loader, draft, node, "provider: \"%.*s\" is not known; did you mean %s?", SL_SHOWN(node->text),
                      suggestion.best);
    else
        sl_load_error(loader, draft, node, "provider: \"%.*s\" is not known; give one of those that are configured",
                      SL_SHOWN(node->text));
    return false;
}

/* What a value must be instead, by its key's type; NULL: it is right as it stands. */
static const char *wanted_instead(const sl_flow_key *key, const sl_node *node)
{
    switch (key->type) {
    case SL_FLOW_WORD:
    case SL_FLOW_TEXT:
    case SL_FLOW_CONDITION:
    case SL_FLOW_EXPRESSION:
        return is_scalar(node) ? NULL : "a text";
    case SL_FLOW_TEXTS:
        return node->type == SL_NODE_MAP ? "a text or a list" : NULL;
    case SL_FLOW_BOOL:
        return node->type == SL_NODE_BOOL ? NULL : "true or false";
    case SL_FLOW_LIST:
        return node->type == SL_NODE_LIST ? NULL : "a list";
    case SL_FLOW_MAP:
    case SL_FLOW_SECTION:
    case SL_FLOW_BRANCHES:
        return node->type == SL_NODE_MAP ? NULL : "a map";
    default:
        return NULL;
    }
}

/* True when the value may be used. A template passes for what only the run can know. */
static bool check_value(sl_loader *loader, const sl_draft *draft, const sl_flow_key *key, const sl_node *node)
{
    SL_ASSERT(loader && key && node && node->type != SL_NODE_NULL);
    double number;
    const char *wanted = wanted_instead(key, node);
    bool late = sl_node_has_template(node);
    if (late && (key->type == SL_FLOW_WHOLE || key->type == SL_FLOW_NUMBER || key->type == SL_FLOW_BOOL ||
                 key->type == SL_FLOW_LIST))
        return true;
    if (wanted) {
        wrong_type(loader, draft, key, node, wanted);
        return false;
    }
    if (key->type == SL_FLOW_WHOLE || key->type == SL_FLOW_NUMBER || key->type == SL_FLOW_SECONDS)
        return check_number(loader, draft, key, node, &number);
    if (key->type == SL_FLOW_WORDS)
        return check_words(loader, draft, key, node);
    if (key->type == SL_FLOW_FUNCTION)
        return check_function(loader, draft, key, node);
    if (key->type == SL_FLOW_TEXT && strcmp(key->name, "provider") == 0)
        return check_provider(loader, draft, node);
    if (key->type == SL_FLOW_WORD && memchr(node->text.ptr, '\0', node->text.len)) {
        wrong_type(loader, draft, key, node, "a text without a NUL in it");
        return false;
    }
    return true;
}

/* ---- keys that are not there, or not known ---- */

static void check_missing(sl_loader *loader, const sl_draft *draft, const sl_node *map, const char *section)
{
    SL_ASSERT(loader && map && section);
    size_t count;
    const sl_flow_key *keys = sl_flow_keys(&count);
    for (size_t i = 0; i < count; i++) {
        const sl_node *node = sl_node_get(map, keys[i].name);
        if (!keys[i].required || strcmp(keys[i].section, section) != 0 || (node && node->type != SL_NODE_NULL))
            continue;
        if (strcmp(section, "step") == 0)
            continue; /* id and type are missed where steps are found */
        if (strcmp(section, "llm") == 0 && strcmp(keys[i].name, "prompt") == 0 && sl_node_get(map, "messages"))
            continue;
        if (strcmp(section, "loop") == 0 && strcmp(keys[i].name, "steps") == 0 && sl_node_get(map, "step"))
            continue;
        sl_load_error(loader, draft, map, "%s: missing; %s needs it", keys[i].name, draft ? section : "a workflow");
    }
}

/* Offers the keys of a section that do not stand in the map. */
static void offer_absent(sl_suggestion *suggestion, const sl_node *map, const char *section)
{
    size_t count;
    const sl_flow_key *keys = sl_flow_keys(&count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(keys[i].section, section) == 0 && !sl_node_get(map, keys[i].name))
            sl_suggest_offer(suggestion, keys[i].name);
    }
}

/* A key of a step that the table does not have: some types pass such keys on, for others it does nothing. */
static void check_unknown(sl_loader *loader, const sl_draft *draft, const sl_node *map, const sl_node *name,
                          const char *section, const char *common, bool passed_on)
{
    SL_ASSERT(loader && map && name && section);
    if (!sl_problems_room(loader->problems, SL_PROBLEM_WARNING)) {
        if (!passed_on)
            sl_load_warning(loader, draft, name, "%s", ""); /* counted; suggestions take time */
        return;
    }
    sl_suggestion suggestion;
    sl_suggest_init(&suggestion, name->text);
    offer_absent(&suggestion, map, section);
    if (common)
        offer_absent(&suggestion, map, common);
    if (suggestion.best)
        sl_load_warning(loader, draft, name, "%.*s: not a key of %s%s; did you mean %s?", SL_SHOWN(name->text), section,
                        passed_on ? ", passed on as it is" : "", suggestion.best);
    else if (!passed_on)
        sl_load_warning(loader, draft, name, "%.*s: not a key of %s, does nothing; remove it", SL_SHOWN(name->text),
                        section);
}

/* ---- the workflow ---- */

static void set_workflow(sl_loader *loader, const sl_flow_key *key, const sl_node *node)
{
    sl_flow *flow = loader->flow;
    SL_ASSERT(flow && key && node);
    if (strcmp(key->name, "name") == 0)
        flow->name = sl_load_keep(loader, node->text);
    else if (strcmp(key->name, "id") == 0)
        flow->id = sl_load_keep(loader, node->text);
    else if (strcmp(key->name, "version") == 0)
        flow->version = sl_load_keep(loader, node->text);
    else if (strcmp(key->name, "description") == 0)
        flow->description = sl_load_keep(loader, node->text);
    else if (key->type == SL_FLOW_SECONDS)
        flow->timeout_ms =
            (uint64_t)((node->type == SL_NODE_INT ? (double)node->is.whole : node->is.real) * 1000 + 0.5);
    else if (key->type == SL_FLOW_MAP)
        flow->metadata = sl_load_json(loader, NULL, node, false);
}

void sl_load_workflow_keys(sl_loader *loader)
{
    SL_ASSERT(loader && loader->tree.root);
    const sl_node *root = loader->tree.root;
    if (root->type != SL_NODE_MAP) {
        sl_load_error(loader, NULL, root, "the file: %s; write a workflow: a map with name and steps",
                      sl_node_type_name(root));
        return;
    }
    for (size_t i = 0; i < root->is.map.count && !loader->failed; i++) {
        const sl_node_pair *pair = &root->is.map.pairs[i];
        const sl_flow_key *key = sl_flow_key_of("workflow", pair->key->text);
        if (!key && !sl_str_starts(pair->key->text, SL_STR("x-"))) /* those are nobody's: room for anchors */
            check_unknown(loader, NULL, root, pair->key, "workflow", NULL, false);
        else if (!key)
            continue;
        else if (pair->value->type != SL_NODE_NULL && check_value(loader, NULL, key, pair->value))
            set_workflow(loader, key, pair->value);
    }
    check_missing(loader, NULL, root, "workflow");
    if (!loader->flow->metadata)
        loader->flow->metadata = json_object();
    if (!loader->flow->metadata)
        loader->failed = SL_ENOMEM;
    const sl_node *name = sl_node_get(root, "name");
    if (name && name->type == SL_NODE_TEXT && !name->text.len)
        sl_load_error(loader, NULL, name, "name: empty; give the workflow a name");
}

/* ---- a step ---- */

static void read_backoff(sl_loader *loader, sl_draft *draft, const sl_node *node)
{
    static const char *const words[] = {"exponential", "linear", "constant"};
    SL_ASSERT(draft && node);
    sl_suggestion suggestion;
    sl_suggest_init(&suggestion, node->text);
    for (unsigned i = 0; i < 3; i++) {
        sl_suggest_offer(&suggestion, words[i]);
        if (!sl_str_eq_c(node->text, words[i]))
            continue;
        draft->step.retry.backoff = (sl_backoff)i;
        return;
    }
    sl_load_error(loader, draft, node, "backoff: \"%.*s\" is not known; give exponential, linear or constant",
                  SL_SHOWN(node->text));
}

/* Names of errors that are retried, too. */
static void read_also(sl_loader *loader, sl_draft *draft, const sl_node *node)
{
    SL_ASSERT(draft && node);
    size_t count = node->type == SL_NODE_LIST ? node->is.list.count : 1;
    for (size_t i = 0; i < count; i++) {
        const sl_node *item = node->type == SL_NODE_LIST ? node->is.list.items[i] : node;
        sl_step_error error;
        if (sl_step_error_of(item->text, &error))
            draft->step.retry.also |= 1u << error;
        else
            sl_load_error(loader, draft, item,
                          "also: \"%.*s\" is no error_type; give exit_status, provider_refused, "
                          "template_error, invalid_input, forbidden or too_big",
                          SL_SHOWN(item->text));
    }
}

static void read_retry(sl_loader *loader, sl_draft *draft, const sl_node *map)
{
    SL_ASSERT(draft && map->type == SL_NODE_MAP);
    double value;
    sl_flow_retry *retry = &draft->step.retry;
    *retry = (sl_flow_retry){3, SL_BACKOFF_EXPONENTIAL, 100, 30000, 0};
    for (size_t i = 0; i < map->is.map.count; i++) {
        const sl_node_pair *pair = &map->is.map.pairs[i];
        const sl_flow_key *key = sl_flow_key_of("retry", pair->key->text);
        if (!key)
            check_unknown(loader, draft, map, pair->key, "retry", NULL, false);
        else if (pair->value->type == SL_NODE_NULL)
            continue;
        else if (key->type == SL_FLOW_BACKOFF)
            read_backoff(loader, draft, pair->value);
        else if (key->type == SL_FLOW_WORDS && check_words(loader, draft, key, pair->value))
            read_also(loader, draft, pair->value);
        else if (key->type == SL_FLOW_WORDS)
            continue;
        else if (!check_number(loader, draft, key, pair->value, &value))
            continue;
        else if (strcmp(key->name, "max_attempts") == 0)
            retry->max_attempts = (unsigned)value;
        else if (strcmp(key->name, "initial_delay_ms") == 0)
            retry->initial_delay_ms = (uint32_t)value;
        else
            retry->max_delay_ms = (uint32_t)value;
    }
}

/* Results that a step of this type has by position; 0: as many as it has names. */
static size_t result_count(sl_step_type type)
{
    static const size_t counts[SL_STEP_TYPE_COUNT] = {4, 2, 2};
    return counts[type];
}

static void check_output_name(sl_loader *loader, const sl_draft *draft, const sl_node *item)
{
    SL_ASSERT(item);
    if (!item->text.len || item->text.len > SL_MAX_FLOW_ID_BYTES)
        sl_load_error(loader, draft, item, "output: a name is %s; give 1 to %u bytes",
                      item->text.len ? "too long" : "empty", SL_MAX_FLOW_ID_BYTES);
}

static void read_outputs(sl_loader *loader, sl_draft *draft, const sl_node *node)
{
    SL_ASSERT(draft && node);
    size_t count = node->type == SL_NODE_LIST ? node->is.list.count : 1;
    if (count > SL_MAX_FLOW_OUTPUTS) {
        sl_load_error(loader, draft, node, "output: more than %u names; give fewer", SL_MAX_FLOW_OUTPUTS);
        return;
    }
    const char **names = sl_arena_zalloc(loader->keep, (count + 1) * sizeof *names);
    draft->used = sl_load_alloc(loader, count + 1, sizeof *draft->used);
    if (!names || !draft->used) {
        loader->failed = SL_ENOMEM;
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const sl_node *item = node->type == SL_NODE_LIST ? node->is.list.items[i] : node;
        names[i] = sl_load_keep(loader, item->text);
        check_output_name(loader, draft, item);
        for (size_t k = 0; k < i; k++) {
            if (strcmp(names[k], names[i]) == 0)
                sl_load_error(loader, draft, item, "output: \"%.*s\" stands twice; give each result one name",
                              SL_SHOWN(item->text));
        }
        if (draft->has_kind && i > 0 && i == result_count(draft->step.type))
            sl_load_warning(loader, draft, item, "output: \"%.*s\" will be null; a step of type %s has %zu results",
                            SL_SHOWN(item->text), sl_step_type_name(draft->step.type), i);
    }
    draft->output_node = node;
    draft->step.outputs = names;
    draft->step.output_count = count;
}

/* Keys that every step has. */
static void read_common(sl_loader *loader, sl_draft *draft, const sl_flow_key *key, const sl_node *node)
{
    SL_ASSERT(draft && key && node);
    if (key->type == SL_FLOW_CONDITION)
        draft->step.condition = sl_load_condition(loader, draft, node);
    else if (key->type == SL_FLOW_SECONDS)
        draft->step.timeout_ms =
            (uint64_t)((node->type == SL_NODE_INT ? (double)node->is.whole : node->is.real) * 1000 + 0.5);
    else if (key->type == SL_FLOW_SECTION)
        read_retry(loader, draft, node);
    else if (strcmp(key->name, "output") == 0)
        read_outputs(loader, draft, node);
}

static json_t *read_param(sl_loader *loader, sl_draft *draft, const sl_flow_key *key, const sl_node *node)
{
    SL_ASSERT(draft && node);
    if (key && (key->type == SL_FLOW_TEXT || key->type == SL_FLOW_WORD || key->type == SL_FLOW_FUNCTION))
        return sl_load_text(loader, draft, node);
    if (key && key->type == SL_FLOW_EXPRESSION) {
        sl_load_expression(loader, draft, node);
        return sl_load_json(loader, draft, node, false);
    }
    return sl_load_json(loader, draft, node, true);
}

static void add_param(sl_loader *loader, sl_draft *draft, const sl_flow_key *key, const sl_node_pair *pair)
{
    SL_ASSERT(draft && pair);
    json_t *value = loader->failed ? NULL : read_param(loader, draft, key, pair->value);
    if (value && json_object_set_new_nocheck(draft->step.params, pair->key->text.ptr, value) != 0)
        loader->failed = SL_ENOMEM;
}

/* Entries of `inputs` are names, not templates: what they mean is checked as a path is. */
static void add_inputs(sl_loader *loader, sl_draft *draft, const sl_node *node)
{
    size_t count = node->type == SL_NODE_LIST ? node->is.list.count : 1;
    for (size_t i = 0; i < count; i++) {
        const sl_node *item = node->type == SL_NODE_LIST ? node->is.list.items[i] : node;
        if (item->type == SL_NODE_TEXT && !sl_node_has_template(item))
            sl_load_add_ref(loader, draft,
                            (sl_draft_ref){.path = item->text, .node = item, .line = 1, .column = 1, .name = true});
    }
}

static bool passes_on(const sl_draft *draft)
{
    return draft->step.type == SL_STEP_LLM || draft->step.type == SL_STEP_ACTION ||
           draft->step.type == SL_STEP_TRANSFORM;
}

static void read_own(sl_loader *loader, sl_draft *draft, const sl_flow_key *key, const sl_node_pair *pair)
{
    SL_ASSERT(draft && pair);
    if (!draft->has_kind)
        return;
    const char *section = sl_step_type_name(draft->step.type);
    if (!key)
        check_unknown(loader, draft, draft->node, pair->key, section, "step", passes_on(draft));
    if (key && (pair->value->type == SL_NODE_NULL || !check_value(loader, draft, key, pair->value)))
        return;
    if (key && (key->type == SL_FLOW_STEPS || key->type == SL_FLOW_BRANCHES))
        return;
    add_param(loader, draft, key, pair);
    if (key && draft->step.type == SL_STEP_TRANSFORM && strcmp(key->name, "inputs") == 0)
        add_inputs(loader, draft, pair->value);
}

/* A branch step whose branches are called true and false chooses by a condition. */
static void read_chooser(sl_loader *loader, sl_draft *draft)
{
    const sl_node *node = sl_node_get(draft->node, "condition");
    bool truth = false;
    for (size_t i = 0; i < draft->block_count; i++) {
        const char *name = draft->blocks[i].name;
        if (strcmp(name, "true") == 0 || strcmp(name, "false") == 0)
            truth = true;
        else if (strcmp(name, "default") != 0)
            return;
    }
    if (truth && node && is_scalar(node) && node->type != SL_NODE_NULL && !draft->broken)
        draft->step.chooser = sl_load_condition(loader, draft, node);
}

void sl_load_step_keys(sl_loader *loader, sl_draft *draft)
{
    SL_ASSERT(loader && draft && draft->node->type == SL_NODE_MAP);
    const sl_node *map = draft->node;
    const char *section = draft->has_kind ? sl_step_type_name(draft->step.type) : "step";
    draft->step.params = json_object();
    if (!draft->step.params)
        loader->failed = SL_ENOMEM;
    for (size_t i = 0; i < map->is.map.count && !loader->failed; i++) {
        const sl_node_pair *pair = &map->is.map.pairs[i];
        const sl_flow_key *own = sl_flow_key_of(section, pair->key->text);
        const sl_flow_key *common = sl_flow_key_of("step", pair->key->text);
        if (!common || (own && own != common))
            read_own(loader, draft, own, pair);
        else if (pair->value->type != SL_NODE_NULL && check_value(loader, draft, common, pair->value))
            read_common(loader, draft, common, pair->value);
    }
    if (draft->has_kind) {
        check_missing(loader, draft, map, section);
        if (draft->step.type == SL_STEP_BRANCH && !loader->failed)
            read_chooser(loader, draft);
        if (draft->step.type == SL_STEP_LOOP && sl_node_get(map, "steps") && sl_node_get(map, "step"))
            sl_load_error(loader, draft, sl_node_get(map, "step"), "step: stands beside steps; write one of them");
    }
}
