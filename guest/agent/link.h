// One connection with the host: frames read and written. Each has a process of its own, so reading and writing may wait.
#pragma once
#include "wire.h"

#define MSG_NOSIGNAL 0x4000

struct frame
{
    u8 type;
    u32 length;
    u8 *payload;
};

struct connection
{
    int fd;
    u32 start, filled;
    // What is to be done when the host is gone (0) or does not keep to the protocol (1); does not come back.
    void (*gone)(int code);
    // A byte more than the largest frame, for a zero behind a text.
    u8 in[FRAME_HEADER + FRAME_MOST + 1];
    u8 out[FRAME_HEADER + FRAME_MOST];
};

static inline void quit(int code)
{
    for (;;)
        SYS(exit_group, code, 0, 0, 0);
}

// Sends a frame whose payload lies in `out` already.
static inline void send_out(struct connection *link, u8 type, u32 length)
{
    frame_put(link->out, type, length);
    for (u64 sent = 0, all = FRAME_HEADER + length; sent < all;)
    {
        long count = sys6(__NR_sendto, link->fd, (long)(link->out + sent), all - sent, MSG_NOSIGNAL, 0, 0);
        if (count <= 0 && count != -EINTR)
            link->gone(0);
        sent += count > 0 ? count : 0;
    }
}

static inline void send_frame(struct connection *link, u8 type, const void *payload, u32 length)
{
    copy(link->out + FRAME_HEADER, payload, length);
    send_out(link, type, length);
}

static inline void send_failure(struct connection *link, long error, u32 stage, const char *text)
{
    struct failure failure = {error < 0 ? -error : error, stage};
    u64 length = length_of(text), room = FRAME_MOST - sizeof failure;
    copy(link->out + FRAME_HEADER, &failure, sizeof failure);
    copy(link->out + FRAME_HEADER + sizeof failure, text, length < room ? length : room);
    send_out(link, FAILED, sizeof failure + (length < room ? length : room));
}

// The next frame that has come as a whole: 1; 0: none yet; -1: the peer does not keep to the protocol. The payload is there until the next call.
static inline int next_frame(struct connection *link, struct frame *frame)
{
    int known = frame_of(link->in + link->start, link->filled - link->start, &frame->type, &frame->length);
    if (known <= 0 || link->filled - link->start < FRAME_HEADER + frame->length)
        return known < 0 ? -1 : 0;
    frame->payload = link->in + link->start + FRAME_HEADER;
    link->start += FRAME_HEADER + frame->length;
    return 1;
}

// Reads what is there, or waits for some.
static inline void fill(struct connection *link)
{
    if (link->start > 0)
    {
        // Towards the front, so overlapping is no matter.
        copy(link->in, link->in + link->start, link->filled - link->start);
        link->filled -= link->start;
        link->start = 0;
    }
    long count = sys6(__NR_recvfrom, link->fd, (long)(link->in + link->filled), FRAME_HEADER + FRAME_MOST - link->filled, 0, 0, 0);
    if (count <= 0 && count != -EINTR)
        link->gone(0);
    link->filled += count > 0 ? count : 0;
}

// Waits for a frame; a peer that does not keep to the protocol is hung up on.
static inline void receive(struct connection *link, struct frame *frame)
{
    for (int known; (known = next_frame(link, frame)) != 1;)
    {
        if (known < 0)
            link->gone(1);
        fill(link);
    }
}

void run_program(struct connection *link, struct frame *frame);
void put_tree(struct connection *link, struct frame *frame);
void get_tree(struct connection *link, struct frame *frame);
