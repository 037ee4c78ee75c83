/* Words of cancels: what is read of them, and how they come to the loop. */
#include "src/flow/cancels.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/harness/sl_test.h"

SL_TEST(a_word_names_a_task_of_its_namespace)
{
    static const struct {
        const char *word, *task;
        uint64_t until_ns;
    } cases[] = {{"cancel llama_deploy t1 17", "t1", 17},
                 {"cancel llama_deploy 01a1fe5e-59f3-724d-a93b-7064d7fd8f61 18446744073709551615",
                  "01a1fe5e-59f3-724d-a93b-7064d7fd8f61", UINT64_MAX},
                 {"cancel other t1 17", "", 3},
                 {"cancel llama_deploy2 t1 17", "", 3},
                 {"cancel llama_deploy", "", 3},
                 {"cancel llama_deploy ", "", 3},
                 {"cancel llama_deploy t1", "", 3},
                 {"cancel llama_deploy t1 ", "", 3},
                 {"cancel llama_deploy t1 x", "", 3},
                 {"cancel llama_deploy t1 1 1", "", 3},
                 {"cancel llama_deploy  17", "", 17},
                 {"resume llama_deploy t1 17", "", 3},
                 {"", "", 3}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t until_ns = 3;
        CHECK_STR(sl_cancels_read("llama_deploy", sl_str_c(cases[i].word), &until_ns), cases[i].task);
        CHECK_EQ(until_ns, cases[i].until_ns);
    }
}

static void never(void *user, sl_str task, uint64_t until_ns)
{
    (void)task;
    (void)until_ns;
    ++*(int *)user;
}

/* The embedded queue is of one process: it takes words, and nobody hears them. */
SL_TEST(alone_nobody_is_told)
{
    char folder[] = "/tmp/sl-test-cancels-XXXXXX", path[64], command[96], text[256];
    sl_loop loop;
    sl_mailbox box;
    sl_queue *queue = NULL;
    sl_cancels *cancels = NULL;
    int heard = 0;
    REQUIRE(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/queue.db", folder);
    sl_queue_options o = {.path = path};
    REQUIRE(sl_loop_init(&loop) == 0);
    REQUIRE(sl_mailbox_init(&box, &loop) == 0);
    REQUIRE(sl_queue_open(&o, text, sizeof text, &queue) == 0);
    CHECK_EQ(sl_cancels_new(queue, &box, "llama_deploy", never, &heard, &cancels), 0);
    sl_cancels_tell(queue, "llama_deploy", SL_STR("t1"), 1);
    CHECK_EQ(sl_queue_tell(queue, SL_STR("x")), 0);
    CHECK_EQ(sl_queue_tell(queue, SL_STR("")), SL_EINVAL);
    char *large = calloc(1, SL_QUEUE_MAX_WORD_BYTES + 1);
    REQUIRE(large);
    CHECK_EQ(sl_queue_tell(queue, sl_str_of(large, SL_QUEUE_MAX_WORD_BYTES + 1)), SL_EINVAL);
    free(large);
    sl_queue_close(queue);
    sl_mailbox_deliver(&box);
    CHECK_EQ(heard, 0);
    sl_cancels_free(cancels);
    sl_cancels_free(NULL);
    sl_mailbox_close(&box);
    (void)uv_run(&loop.uv, UV_RUN_DEFAULT);
    sl_mailbox_done(&box);
    sl_loop_done(&loop);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    CHECK_EQ(system(command), 0);
}
