/* See queue_state.h. */
#include "src/queue/queue_state.h"

#include "src/base/assert.h"
#include "src/base/hash.h"
#include "src/base/mem.h"

/* ---- growing ---- */

/* Room for `count` items of an array; `*size` items fit now. */
static int grow(void **items, size_t *size, size_t item_bytes, size_t count)
{
    if (count <= *size)
        return 0;
    size_t wanted = *size ? *size : 16;
    while (wanted < count)
        wanted += wanted / 2 + 16;
    void *grown = sl_realloc(*items, wanted * item_bytes);
    if (!grown)
        return SL_ENOMEM;
    *items = grown;
    *size = wanted;
    return 0;
}

/* ---- messages by row ---- */

static size_t slot_of(uint64_t row, size_t size)
{
    return (size_t)((row * 0x9E3779B97F4A7C15ull) >> 20) & (size - 1);
}

sl_q_message *sl_q_find(const sl_q_table *table, uint64_t row)
{
    if (!table->size)
        return NULL;
    for (size_t at = slot_of(row, table->size); table->slots[at]; at = (at + 1) & (table->size - 1)) {
        if (table->slots[at]->row == row)
            return table->slots[at];
    }
    return NULL;
}

static void place(sl_q_message **slots, size_t size, sl_q_message *message)
{
    size_t at = slot_of(message->row, size);
    while (slots[at])
        at = (at + 1) & (size - 1);
    slots[at] = message;
}

/* At most two thirds full. */
static int reserve_slots(sl_q_table *table, size_t count)
{
    if (count * 3 <= table->size * 2)
        return 0;
    size_t size = table->size ? table->size : 64;
    while (count * 3 > size * 2)
        size *= 2;
    sl_q_message **slots = sl_calloc(size, sizeof *slots);
    if (!slots)
        return SL_ENOMEM;
    for (size_t i = 0; i < table->size; i++) {
        if (table->slots[i])
            place(slots, size, table->slots[i]);
    }
    sl_free(table->slots);
    table->slots = slots;
    table->size = size;
    return 0;
}

/* Closes the gap, so that no search stops early. */
static void remove_slot(sl_q_table *table, uint64_t row)
{
    size_t mask = table->size - 1, hole = slot_of(row, table->size);
    while (table->slots[hole]->row != row)
        hole = (hole + 1) & mask;
    for (size_t at = (hole + 1) & mask; table->slots[at]; at = (at + 1) & mask) {
        size_t home = slot_of(table->slots[at]->row, table->size);
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            table->slots[hole] = table->slots[at];
            hole = at;
        }
    }
    table->slots[hole] = NULL;
    table->count--;
}

int sl_q_reserve(sl_q_table *table, sl_q_topic *topic, unsigned priority, size_t more)
{
    SL_ASSERT(table && topic && priority < SL_QUEUE_PRIORITIES);
    sl_q_heap *ready = &topic->ready[priority];
    int error = reserve_slots(table, table->count + more);
    if (!error)
        error = grow((void **)&table->due, &table->due_size, sizeof *table->due, table->count + more);
    /* Every message of the topic may come to be ready in this heap: all that are there, and those on their way. */
    if (!error)
        error = grow((void **)&ready->items, &ready->size, sizeof *ready->items, (size_t)topic->waiting + more);
    return error;
}

void sl_q_add(sl_q_table *table, sl_q_message *message)
{
    SL_ASSERT((table->count + 1) * 3 <= table->size * 2 && !sl_q_find(table, message->row));
    place(table->slots, table->size, message);
    table->count++;
}

void sl_q_message_free(sl_q_message *message)
{
    if (!message)
        return;
    sl_free(message->bytes);
    sl_free(message);
}

/* ---- the heap of due ones ---- */

static void due_set(sl_q_table *table, size_t at, sl_q_message *message)
{
    table->due[at] = message;
    message->due_at = (uint32_t)at + 1;
}

static void due_up(sl_q_table *table, size_t at)
{
    sl_q_message *message = table->due[at];
    while (at > 0 && table->due[(at - 1) / 2]->due_ns > message->due_ns) {
        due_set(table, at, table->due[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    due_set(table, at, message);
}

static void due_down(sl_q_table *table, size_t at)
{
    sl_q_message *message = table->due[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= table->due_count)
            break;
        if (child + 1 < table->due_count && table->due[child + 1]->due_ns < table->due[child]->due_ns)
            child++;
        if (table->due[child]->due_ns >= message->due_ns)
            break;
        due_set(table, at, table->due[child]);
        at = child;
    }
    due_set(table, at, message);
}

static void due_remove(sl_q_table *table, sl_q_message *message)
{
    if (!message->due_at)
        return;
    size_t at = message->due_at - 1;
    SL_ASSERT(table->due[at] == message);
    message->due_at = 0;
    sl_q_message *last = table->due[--table->due_count];
    if (last == message)
        return;
    due_set(table, at, last);
    due_up(table, at);
    due_down(table, last->due_at - 1);
}

static void due_add(sl_q_table *table, sl_q_message *message, uint64_t due_ns)
{
    SL_ASSERT(!message->due_at && table->due_count < table->due_size);
    message->due_ns = due_ns;
    due_set(table, table->due_count++, message);
    due_up(table, table->due_count - 1);
}

void sl_q_due_again(sl_q_table *table, sl_q_message *message, uint64_t due_ns)
{
    SL_ASSERT(message->due_at);
    message->due_ns = due_ns;
    due_up(table, message->due_at - 1);
    due_down(table, message->due_at - 1);
}

/* ---- ready heaps ---- */

static void ready_push(sl_q_heap *heap, sl_q_message *message)
{
    SL_ASSERT(heap->count < heap->size);
    size_t at = heap->count++;
    while (at > 0 && heap->items[(at - 1) / 2].order > message->order) {
        heap->items[at] = heap->items[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap->items[at] = (sl_q_item){message->order, message};
}

static sl_q_message *ready_pop(sl_q_heap *heap)
{
    sl_q_message *first = heap->items[0].message;
    sl_q_item last = heap->items[--heap->count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= heap->count)
            break;
        if (child + 1 < heap->count && heap->items[child + 1].order < heap->items[child].order)
            child++;
        if (heap->items[child].order >= last.order)
            break;
        heap->items[at] = heap->items[child];
        at = child;
    }
    if (heap->count)
        heap->items[at] = last;
    return first;
}

sl_q_message *sl_q_pop(sl_q_table *table, sl_q_topic *topic)
{
    SL_ASSERT(table && topic);
    for (int priority = SL_QUEUE_PRIORITIES - 1; priority >= 0; priority--) {
        if (topic->ready[priority].count) {
            sl_q_message *message = ready_pop(&topic->ready[priority]);
            SL_ASSERT(message->state == SL_Q_READY);
            topic->ready_count--;
            return message;
        }
    }
    return NULL;
}

uint64_t sl_q_oldest_ready(const sl_q_topic *topic)
{
    uint64_t oldest = 0;
    for (size_t priority = 0; priority < SL_QUEUE_PRIORITIES; priority++) {
        const sl_q_heap *heap = &topic->ready[priority];
        if (heap->count && (!oldest || heap->items[0].message->ready_ns < oldest))
            oldest = heap->items[0].message->ready_ns;
    }
    return oldest;
}

/* ---- states ---- */

void sl_q_enter(sl_q_table *table, sl_q_message *message, sl_q_state state, uint64_t due_ns)
{
    sl_q_topic *topic = message->topic;
    message->state = (uint8_t)state;
    if (state == SL_Q_READY) {
        ready_push(&topic->ready[message->priority], message);
        topic->ready_count++;
    } else if (state == SL_Q_DELAYED || state == SL_Q_LEASED) {
        due_add(table, message, due_ns);
        uint64_t *count = state == SL_Q_DELAYED ? &topic->delayed : &topic->leased;
        (*count)++;
    }
}

void sl_q_leave(sl_q_table *table, sl_q_message *message)
{
    SL_ASSERT(message->state != SL_Q_READY);
    sl_q_topic *topic = message->topic;
    due_remove(table, message);
    if (message->state == SL_Q_DELAYED)
        topic->delayed--;
    else if (message->state == SL_Q_LEASED)
        topic->leased--;
}

void sl_q_remove(sl_q_table *table, sl_q_message *message)
{
    SL_ASSERT(message->state == SL_Q_ENDING && !message->due_at);
    remove_slot(table, message->row);
}

/* ---- topics ---- */

sl_q_topic *sl_q_topic_find(const sl_q_table *table, sl_str name)
{
    sl_q_topic *topic = table->buckets[sl_hash_str(name) % SL_Q_TOPIC_BUCKETS];
    while (topic && !sl_str_eq(sl_str_of(topic->name, topic->name_len), name))
        topic = topic->next;
    return topic;
}

sl_q_topic *sl_q_topic_by_id(const sl_q_table *table, uint32_t id)
{
    for (size_t i = 0; i < table->topic_count; i++) {
        if (table->topics[i]->id == id)
            return table->topics[i];
    }
    return NULL;
}

int sl_q_topic_add(sl_q_table *table, sl_str name, uint32_t id, sl_q_topic **ret_topic)
{
    SL_ASSERT(name.len > 0 && name.len <= SL_QUEUE_MAX_TOPIC_BYTES && !sl_q_topic_find(table, name));
    if (grow((void **)&table->topics, &table->topic_size, sizeof(sl_q_topic *), table->topic_count + 1))
        return SL_ENOMEM;
    sl_q_topic *topic = sl_calloc(1, sizeof *topic + name.len + 1);
    if (!topic)
        return SL_ENOMEM;
    for (size_t i = 0; id == 0 && i < table->topic_count; i++)
        topic->id = topic->id > table->topics[i]->id ? topic->id : table->topics[i]->id;
    topic->id = id ? id : topic->id + 1;
    topic->name_len = (uint32_t)name.len;
    memcpy(topic->name, name.ptr, name.len);
    topic->hungry = true;
    sl_q_topic **bucket = &table->buckets[sl_hash_str(name) % SL_Q_TOPIC_BUCKETS];
    topic->next = *bucket;
    *bucket = topic;
    table->topics[table->topic_count++] = topic;
    *ret_topic = topic;
    return 0;
}

void sl_q_table_done(sl_q_table *table)
{
    for (size_t i = 0; i < table->size; i++)
        sl_q_message_free(table->slots[i]);
    for (size_t i = 0; i < table->topic_count; i++) {
        for (size_t priority = 0; priority < SL_QUEUE_PRIORITIES; priority++)
            sl_free(table->topics[i]->ready[priority].items);
        sl_free(table->topics[i]);
    }
    sl_free(table->topics);
    sl_free(table->slots);
    sl_free(table->due);
    memset(table, 0, sizeof *table);
}
