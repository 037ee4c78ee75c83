/*
 * How store, broker and providers are, for the probes of the process that answers them. The disk is asked now and then
 * for a sign of life, which costs it nothing; after a failure it has to write.
 */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/flow/breaker.h"
#include "src/flow/server_impl.h"

#define DISK_SLOW_MS 5000u

struct sl_flow_health {
    sl_store_op probe;
    sl_flow_server *server;
    uint64_t asked_ms; /* monotonic; 0: nothing is under way */
    uint64_t failures; /* of commits, as they were last seen */
    bool broken;       /* until something has been written again */
};

/* ---- the store: runs and, without a cluster, messages ---- */

static int write_sign(sl_store_op *op, sqlite3 *db)
{
    (void)op;
    return sl_db_error(sqlite3_exec(db,
                                    "create table if not exists health(id integer primary key, at text not null);"
                                    "insert or replace into health values(1, datetime('now'))",
                                    NULL, NULL, NULL));
}

static uint64_t failures_of(const sl_flow_server *server)
{
    sl_db_stats runs;
    sl_queue_disk_stats messages;
    sl_db_get_stats(sl_flow_store_db(server->store), &runs);
    sl_queue_get_disk_stats(server->queue, &messages);
    return runs.failed_commits + messages.failed_commits;
}

static void say_broken(sl_flow_server *server)
{
    char why[400] = "";
    sl_db_last_error(sl_flow_store_db(server->store), why, sizeof why);
    if (!*why && !server->options->cluster.len)
        sl_queue_last_error(server->queue, why, sizeof why);
    sl_board_say(server->options->board, SL_BOARD_STORE, SL_UNHEALTHY, *why ? why : "the disk has failed");
}

static void on_sign(sl_store_op *op, int error)
{
    sl_flow_health *h = (sl_flow_health *)(void *)((char *)op - offsetof(sl_flow_health, probe));
    sl_flow_server *server = h->server;
    bool wrote = op->run != NULL;
    h->asked_ms = 0;
    if (error == SL_ECLOSED)
        return;
    if (error) {
        h->broken = true;
        say_broken(server);
    } else if (wrote || !h->broken) {
        h->broken = false;
        sl_board_say(server->options->board, SL_BOARD_STORE, SL_HEALTHY, NULL);
    }
}

static void look_at_store(sl_flow_server *server, sl_flow_health *h)
{
    uint64_t now = sl_mono_ns() / 1000000, failures = failures_of(server);
    if (failures != h->failures) {
        h->failures = failures;
        h->broken = true;
        say_broken(server);
    }
    if (!h->asked_ms) {
        h->asked_ms = now;
        h->probe = (sl_store_op){.run = h->broken ? write_sign : NULL, .done = on_sign};
        sl_flow_store_write(server->store, &h->probe);
    } else if (now - h->asked_ms > DISK_SLOW_MS) {
        char text[96];
        (void)snprintf(text, sizeof text, "flow.db: the disk has not answered for %llu s",
                       (unsigned long long)((now - h->asked_ms) / 1000));
        sl_board_say(server->options->board, SL_BOARD_STORE, SL_UNHEALTHY, text);
    }
}

/* ---- the others ---- */

static void look_at_broker(sl_flow_server *server)
{
    char why[400] = "";
    if (!server->options->cluster.len)
        return;
    bool there = sl_queue_is_connected(server->queue);
    if (there)
        sl_queue_last_error(server->queue, why, sizeof why);
    sl_board_say(server->options->board, SL_BOARD_BROKER,
                 !there ? SL_UNHEALTHY
                 : *why ? SL_DEGRADED
                        : SL_HEALTHY,
                 there ? why : "there is no connection to the cluster");
}

static void look_at_providers(sl_flow_server *server)
{
    char text[SL_BOARD_TEXT] = "";
    size_t open = sl_breakers_open(sl_executor_breakers(server->executor), text, sizeof text);
    sl_board_say(server->options->board, SL_BOARD_PROVIDERS, open ? SL_DEGRADED : SL_HEALTHY, text);
}

void sl_flow_health_look(sl_flow_server *server)
{
    SL_ASSERT(server && server->store && server->queue && server->executor);
    if (!server->options->board)
        return;
    if (!server->health && (server->health = sl_calloc(1, sizeof *server->health)))
        server->health->server = server;
    if (server->health)
        look_at_store(server, server->health);
    look_at_broker(server);
    look_at_providers(server);
}

void sl_flow_health_free(sl_flow_server *server)
{
    sl_free(server->health);
    server->health = NULL;
}
