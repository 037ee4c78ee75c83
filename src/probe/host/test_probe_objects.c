/* The table of the host's objects: finding, replacing, no room, several threads. */
#include "src/probe/host/objects.c"

#include <pthread.h>

#include "tests/harness/sl_test.h"

static const void *address(uintptr_t n)
{
    return (const void *)(n * 64 + 4096);
}

static sl_host_object made(sl_host_object_kind kind, uint32_t id)
{
    return (sl_host_object){.kind = kind, .id = id, .lib = 3, .bytes = -5};
}

SL_TEST(what_was_added_is_found_by_its_kind)
{
    sl_host_object facts = made(SL_HOST_CONTEXT, 7), was;
    REQUIRE(sl_host_object_add(address(1), &facts) != NULL);
    CHECK_EQ(sl_host_object_find(address(1), SL_HOST_CONTEXT)->id, 7);
    CHECK_EQ(sl_host_object_find(address(1), SL_HOST_CONTEXT)->lib, 3);
    CHECK(!sl_host_object_find(address(1), SL_HOST_MODEL));
    CHECK(!sl_host_object_find(address(2), SL_HOST_CONTEXT));
    CHECK(!sl_host_object_find(NULL, SL_HOST_CONTEXT));
    CHECK(!sl_host_object_add(NULL, &facts));
    CHECK(!sl_host_object_remove(address(1), SL_HOST_MODEL, &was));
    CHECK(sl_host_object_remove(address(1), SL_HOST_CONTEXT, &was));
    CHECK_EQ(was.id, 7);
    CHECK_EQ(was.bytes, -5);
    CHECK(!sl_host_object_remove(address(1), SL_HOST_CONTEXT, &was));
}

SL_TEST(an_address_that_is_used_again_is_the_new_object)
{
    sl_host_object model = made(SL_HOST_MODEL, 1), chain = made(SL_HOST_CHAIN, 2), was;
    REQUIRE(sl_host_object_add(address(3), &model) != NULL);
    atomic_store(&sl_host_object_find(address(3), SL_HOST_MODEL)->waiting, 1);
    REQUIRE(sl_host_object_add(address(3), &chain) != NULL);
    CHECK(!sl_host_object_find(address(3), SL_HOST_MODEL));
    CHECK_EQ(sl_host_object_find(address(3), SL_HOST_CHAIN)->id, 2);
    CHECK_EQ(atomic_load(&sl_host_object_find(address(3), SL_HOST_CHAIN)->waiting), 0);
    CHECK(sl_host_object_remove(address(3), SL_HOST_CHAIN, &was));
    CHECK(!sl_host_object_find(address(3), SL_HOST_CHAIN));
}

SL_TEST(without_room_an_object_stays_unknown)
{
    uintptr_t n = 10, kept = 0, lost = 0;
    for (; n < 10 + 2 * SL_HOST_OBJECTS; n++) {
        sl_host_object facts = made(SL_HOST_BUFFER, (uint32_t)n);
        if (sl_host_object_add(address(n), &facts))
            kept++;
        else
            lost++;
    }
    CHECK(kept > SL_HOST_OBJECTS / 2 && lost > 0);
    uintptr_t found = 0;
    for (n = 10; n < 10 + 2 * SL_HOST_OBJECTS; n++) {
        sl_host_object was;
        const sl_host_object *o = sl_host_object_find(address(n), SL_HOST_BUFFER);
        CHECK(!o || o->id == n);
        found += sl_host_object_remove(address(n), SL_HOST_BUFFER, &was);
    }
    CHECK_EQ(found, kept);
    for (size_t i = 0; i < SL_HOST_OBJECTS + WINDOW; i++)
        CHECK(atomic_load(&table[i].key) == NULL);
}

static void *churn(void *user)
{
    uintptr_t first = (uintptr_t)user;
    uint32_t wrong = 0;
    for (unsigned round = 0; round < 200; round++) {
        for (uintptr_t n = first; n < first + 100; n++) {
            sl_host_object facts = made(SL_HOST_CHAIN, (uint32_t)n);
            (void)sl_host_object_add(address(n), &facts);
        }
        for (uintptr_t n = first; n < first + 100; n++) {
            sl_host_object was;
            const sl_host_object *o = sl_host_object_find(address(n), SL_HOST_CHAIN);
            wrong += o && o->id != n;
            wrong += o && !sl_host_object_remove(address(n), SL_HOST_CHAIN, &was);
        }
    }
    return wrong ? user : NULL;
}

SL_TEST(several_threads_keep_out_of_one_anothers_way)
{
    pthread_t threads[4];
    void *wrong;
    for (uintptr_t i = 0; i < 4; i++)
        REQUIRE(pthread_create(&threads[i], NULL, churn, (void *)(100000 + i * 1000)) == 0);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(pthread_join(threads[i], &wrong), 0);
        CHECK(wrong == NULL);
    }
}
