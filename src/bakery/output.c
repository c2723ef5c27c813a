#include "bakery/build_priv.h"

#include "base/str.h"

/* What a build says. Stages run at the same time, and are told in the order of the file: the first that is
 * not done speaks at once, the others are held back until it is their turn. So the text is the same whatever
 * ran beside what. What one holds back is bounded: of more the beginning is left out. */

enum { HELD_MAX = 1 << 20 };

struct frame {
    uint32_t stream, bytes;
};

/* With out_lock held. */
static int pass_on(struct builder *b, int stream, const void *bytes, size_t n)
{
    if (n && b->o->output && b->o->output(b->o->output_context, stream, bytes, n))
        __atomic_store_n(&b->cancelled, true, __ATOMIC_RELAXED);
    return build__cancelled(b) ? -ERR_CANCELLED : 0;
}

static void hold_back(struct stage *stage, int stream, const void *bytes, size_t n)
{
    struct frame f = {(uint32_t)stream, (uint32_t)n};
    struct str *held = &stage->held;
    str_addn(held, &f, sizeof(f));
    str_addn(held, bytes, n);
    if (held->len <= HELD_MAX)
        return;
    size_t at = 0;
    while (at < held->len / 2) {
        memcpy(&f, held->data + at, sizeof(f));
        at += sizeof(f) + f.bytes;
    }
    memmove(held->data, held->data + at, held->len - at);
    str_truncate(held, held->len - at);
    stage->held_clipped = true;
}

/* With out_lock held. */
static void let_out(struct builder *b, struct stage *stage)
{
    static const char clipped[] = "[the beginning of this stage's output is left out]\n";
    struct frame f;
    if (stage->held_clipped)
        pass_on(b, 1, clipped, sizeof(clipped) - 1);
    for (size_t at = 0; at < stage->held.len; at += sizeof(f) + f.bytes) {
        memcpy(&f, stage->held.data + at, sizeof(f));
        pass_on(b, (int)f.stream, stage->held.data + at + sizeof(f), f.bytes);
    }
    str_free(&stage->held);
}

/* With out_lock held: the turn goes on to the first stage that is not done. */
static void next_turn(struct builder *b)
{
    for (; b->turn < b->stage_count; b->turn++) {
        struct stage *stage = &b->stages[b->turn];
        let_out(b, stage);
        if (stage->needed && !stage->said)
            return;
        if (stage->said && stage->image_id && b->o->built)
            b->o->built(b->o->output_context, stage->image_id);
    }
}

bool build__cancelled(struct builder *b)
{
    return __atomic_load_n(&b->cancelled, __ATOMIC_RELAXED);
}

int build__out(struct builder *b, struct stage *stage, int stream, const void *bytes, size_t n)
{
    if (!n) {
        if (b->o->output && b->o->output(b->o->output_context, 1, "", 0))
            __atomic_store_n(&b->cancelled, true, __ATOMIC_RELAXED);
        return build__cancelled(b) ? -ERR_CANCELLED : 0;
    }
    SCOPED_LOCK(locked, &b->out_lock);
    if (!stage || b->turn == (size_t)(stage - b->stages))
        return pass_on(b, stream, bytes, n);
    hold_back(stage, stream, bytes, n);
    return build__cancelled(b) ? -ERR_CANCELLED : 0;
}

int build__say(struct builder *b, struct stage *stage, const char *format, ...)
{
    _cleanup_str_ struct str s = STR_INIT;
    va_list ap;
    va_start(ap, format);
    str_vaddf(&s, format, ap);
    va_end(ap);
    return build__out(b, stage, 1, str_get(&s), s.len);
}

void build__note(struct builder *b, struct stage *stage, const char *format, ...)
{
    _cleanup_str_ struct str s = STR_INIT;
    va_list ap;
    va_start(ap, format);
    str_vaddf(&s, format, ap);
    va_end(ap);
    build__say(b, stage, "%s\n", str_get(&s));
    build__event(b, &(struct bakery_event){.kind = BAKERY_NOTE, .text = str_get(&s)});
}

void build__said_all(struct builder *b, struct stage *stage)
{
    SCOPED_LOCK(locked, &b->out_lock);
    stage->said = true;
    if (b->turn == (size_t)(stage - b->stages))
        next_turn(b);
}

void build__first_turn(struct builder *b)
{
    SCOPED_LOCK(locked, &b->out_lock);
    next_turn(b);
}

void build__say_held(struct builder *b, struct stage *stage)
{
    SCOPED_LOCK(locked, &b->out_lock);
    let_out(b, stage);
}

void build__event(struct builder *b, const struct bakery_event *event)
{
    if (b->o->event)
        b->o->event(b->o->output_context, event);
}
