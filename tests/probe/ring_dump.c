/*
 * Prints the events of a ring's file, one a line as JSON, oldest first, and at the end a line about the ring. For
 * tests. ring_dump FILE [FILE …]
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/probe/ring.h"

static void text_list(const char *text, size_t len)
{
    (void)printf(",\"texts\":[\"");
    for (size_t i = 0; i + 1 < len || (i < len && text[i]); i++) {
        unsigned char c = (unsigned char)text[i];
        if (!c)
            (void)printf("\",\"");
        else if (c < 32 || c == '"' || c == '\\' || c > 126)
            (void)printf("\\u%04x", c);
        else
            (void)putchar(c);
    }
    (void)printf("\"]");
}

static void tokens(const int32_t *token, uint32_t count)
{
    (void)printf(",\"tokens\":[");
    for (uint32_t i = 0; i < count; i++)
        (void)printf("%s%d", i ? "," : "", token[i]);
    (void)printf("]");
}

static void model(const sl_probe_event *e)
{
    const sl_probe_model_load *m = (const sl_probe_model_load *)(const void *)e;
    (void)printf(",\"model\":%u,\"start\":%lu,\"n_params\":%lu,\"size_bytes\":%lu,\"weights_bytes\":%lu", m->model,
                 m->start_ns, m->n_params, m->size_bytes, m->weights_bytes);
    (void)printf(",\"n_ctx_train\":%d,\"n_layer\":%d,\"n_embd\":%d,\"splits\":%u", m->n_ctx_train, m->n_layer,
                 m->n_embd, m->splits);
    text_list((const char *)(m + 1), e->count);
}

static void context(const sl_probe_event *e)
{
    const sl_probe_context_new *c = (const sl_probe_context_new *)(const void *)e;
    (void)printf(",\"context\":%u,\"model\":%u,\"kv_bytes\":%lu,\"compute_bytes\":%lu,\"output_bytes\":%lu", c->context,
                 c->model, c->kv_bytes, c->compute_bytes, c->output_bytes);
    (void)printf(",\"n_ctx\":%d,\"n_ctx_seq\":%d,\"n_batch\":%d,\"n_ubatch\":%d,\"n_seq_max\":%d", c->n_ctx,
                 c->n_ctx_seq, c->n_batch, c->n_ubatch, c->n_seq_max);
}

static void decode(const sl_probe_event *e)
{
    const sl_probe_decode *d = (const sl_probe_decode *)(const void *)e;
    const sl_probe_run *r = (const sl_probe_run *)(const void *)(d + 1);
    (void)printf(",\"context\":%u,\"result\":%d,\"n_tokens\":%u,\"start\":%lu,\"runs\":[", d->context, d->result,
                 d->n_tokens, d->start_ns);
    for (uint32_t i = 0; i < e->count; i++)
        (void)printf("%s{\"seq\":%d,\"pos\":%d,\"n\":%u,\"outputs\":%u,\"row\":%u,\"flags\":%u}", i ? "," : "",
                     r[i].seq, r[i].pos, r[i].n, r[i].outputs, r[i].row, r[i].flags);
    (void)printf("]");
    tokens((const int32_t *)(const void *)(r + e->count), d->n_listed);
}

static void sequence(const sl_probe_event *e)
{
    const sl_probe_sequence *s = (const sl_probe_sequence *)(const void *)e;
    (void)printf(",\"context\":%u,\"seq\":%d,\"seq_to\":%d,\"p0\":%d,\"p1\":%d,\"delta\":%d,\"bytes\":%lu", s->context,
                 s->seq, s->seq_to, s->p0, s->p1, s->delta, s->bytes);
}

static void small(const sl_probe_event *e)
{
    const void *p = e;
    const sl_probe_buffer *b = p;
    const sl_probe_sample *s = p;
    const sl_probe_tokenize *t = p;
    const sl_probe_request *q = p;
    const sl_probe_answer *a = p;
    const sl_probe_frame *f = p;
    const sl_probe_answer_end *n = p;
    const sl_probe_attach *at = p;
    if (e->kind == SL_PROBE_BUFFER)
        (void)printf(",\"bytes\":%ld,\"owner\":%u,\"phase\":%u,\"name\":\"%.*s\"", b->bytes, b->owner, b->phase,
                     (int)e->count, (const char *)(b + 1));
    else if (e->kind == SL_PROBE_SAMPLE)
        (void)printf(",\"context\":%u,\"chain\":%u,\"row\":%d,\"token\":%d", s->context, s->chain, s->row, s->token);
    else if (e->kind == SL_PROBE_TOKENIZE)
        (void)printf(",\"request\":%u,\"n_tokens\":%u", t->request, t->n_tokens),
            tokens((const int32_t *)(const void *)(t + 1), e->count);
    else if (e->kind == SL_PROBE_REQUEST)
        (void)printf(",\"request\":%u,\"connection\":%u", q->request, q->connection),
            text_list((const char *)(q + 1), e->count);
    else if (e->kind == SL_PROBE_ANSWER)
        (void)printf(",\"request\":%u,\"status\":%u,\"length\":%lu", a->request, a->status, a->content_length);
    else if (e->kind == SL_PROBE_FRAME)
        (void)printf(",\"request\":%u,\"bytes\":%u", f->request, f->bytes);
    else if (e->kind == SL_PROBE_ANSWER_END || e->kind == SL_PROBE_REQUEST_END)
        (void)printf(",\"request\":%u,\"bytes\":%lu", n->request, n->bytes), text_list((const char *)(n + 1), e->count);
    else if (e->kind == SL_PROBE_ATTACH)
        (void)printf(",\"pid\":%u,\"ppid\":%u", at->pid, at->parent_pid), text_list((const char *)(at + 1), e->count);
    else if (e->kind == SL_PROBE_FOUND)
        text_list((const char *)(e + 1), e->count);
    else if (e->kind != SL_PROBE_EXIT) /* context, model, chain, row, request: the two words of the body */
        (void)printf(",\"id\":%u,\"second\":%d", ((const sl_probe_logits *)p)->context,
                     ((const sl_probe_logits *)p)->row);
}

static void print(void *user, const sl_probe_event *e, size_t size)
{
    (void)user;
    (void)printf("{\"kind\":\"%s\",\"size\":%zu,\"flags\":%u,\"thread\":%u,\"time\":%lu", sl_probe_kind_name(e->kind),
                 size, e->flags, e->thread, e->time_ns);
    if (e->kind == SL_PROBE_MODEL_LOAD)
        model(e);
    else if (e->kind == SL_PROBE_CONTEXT_NEW)
        context(e);
    else if (e->kind == SL_PROBE_DECODE)
        decode(e);
    else if (e->kind == SL_PROBE_SEQUENCE)
        sequence(e);
    else if (e->kind == SL_PROBE_SYNC)
        (void)printf(",\"context\":%u,\"start\":%lu", ((const sl_probe_sync *)(const void *)e)->context,
                     ((const sl_probe_sync *)(const void *)e)->start_ns);
    else
        small(e);
    (void)printf("}\n");
}

int main(int argc, char **argv)
{
    int failed = 0;
    for (int i = 1; i < argc; i++) {
        sl_probe_ring *ring;
        sl_probe_ring_info info;
        int fd = open(argv[i], O_RDWR | O_CLOEXEC);
        if (fd < 0 || sl_probe_ring_open(fd, &ring) != 0) {
            (void)fprintf(stderr, "ring_dump: %s is not a ring\n", argv[i]);
            failed = 1;
            continue;
        }
        (void)close(fd);
        while (sl_probe_ring_read(ring, 1000, sl_mono_ns(), print, NULL) > 0) {
        }
        sl_probe_ring_get_info(ring, &info);
        (void)printf("{\"kind\":\"ring\",\"pid\":%u,\"written\":%lu,\"dropped\":%lu,\"bad\":%lu,\"closed\":%s}\n",
                     info.pid, info.written, info.dropped, info.bad, info.closed ? "true" : "false");
        sl_probe_ring_free(ring);
    }
    return failed;
}
