// The bench guest with a network card: sends frames to nobody (with SEND), and datagrams to port 7777 of 10.0.2.2, which sends them back; by polling,
// from user mode. It is 10.0.2.15, as in the user networks of kvmsharp and QEMU. One elf file for kvmsharp and QEMU's microvm, over virtio-mmio.
// virtio 1.2: 2.7 (split queues), 4.2 (MMIO), 5.1 (network).
#include "guest.h"

#define CHECKSUM (1u << 0)
#define MAC (1u << 5)
#define TSO (1u << 11)
#define HEADER 12
#define LARGEST (64 << 10)
#define SLOTS 64
#define ADDRESS 0x0a00020fu
#define GATEWAY 0x0a000202u
#define HERE 7000
#define THERE 7777
#define PATIENCE 150000000ull     // ticks after which a datagram counts as lost

struct queue
{
    struct descriptor descriptors[ENTRIES] __attribute__((aligned(4096)));
    struct { uint16_t flags, index, ring[ENTRIES], used_event; } available __attribute__((aligned(4096)));
    volatile struct { uint16_t flags, index; struct used_element ring[ENTRIES]; uint16_t available_event; } used __attribute__((aligned(4096)));
    uint16_t seen;
};

static struct queue receiver, sender;
static uint8_t in[SLOTS][HEADER + LARGEST] __attribute__((aligned(4096)));
static uint8_t out[SLOTS + 1][HEADER + LARGEST] __attribute__((aligned(4096)));
static uint8_t busy[SLOTS + 1], awaited[SLOTS];
static uint8_t own[6], gateway[6];
static int knows_gateway;
static volatile uint32_t *registers;

static void copy(uint8_t *to, const uint8_t *from, uint32_t count) { while (count--) *to++ = *from++; }
static void clear(uint8_t *to, uint32_t count) { while (count--) *to++ = 0; }
static void put16(uint8_t *to, uint32_t value) { to[0] = (uint8_t)(value >> 8); to[1] = (uint8_t)value; }
static void put32(uint8_t *to, uint32_t value) { put16(to, value >> 16); put16(to + 2, value); }
static uint32_t get16(const uint8_t *from) { return (uint32_t)from[0] << 8 | from[1]; }
static uint32_t get32(const uint8_t *from) { return get16(from) << 16 | get16(from + 2); }

static void set_up(uint32_t number, struct queue *q)
{
    volatile uint32_t *r = registers;
    r[0x30 / 4] = number;
    if (r[0x34 / 4] < ENTRIES)
        fail("the queue is too short");
    r[0x38 / 4] = ENTRIES;
    r[0x80 / 4] = (uint32_t)(uintptr_t)q->descriptors;
    r[0x84 / 4] = 0;
    r[0x90 / 4] = (uint32_t)(uintptr_t)&q->available;
    r[0x94 / 4] = 0;
    r[0xa0 / 4] = (uint32_t)(uintptr_t)&q->used;
    r[0xa4 / 4] = 0;
    r[0x44 / 4] = 1;
    q->available.flags = 1;       // VIRTQ_AVAIL_F_NO_INTERRUPT: the queue is polled
}

static void find_card(void)
{
    for (uintptr_t base = 0xfeb00000; base < 0xfeb10000; base += 0x200)
    {
        volatile uint32_t *r = registers = (volatile uint32_t *)base;
        if (r[0] != 0x74726976 || r[1] != 2 || r[2] != 1) // "virt", version 2, a network card
            continue;
        r[0x70 / 4] = 0;
        r[0x70 / 4] = 3;          // ACKNOWLEDGE, DRIVER
        r[0x14 / 4] = 0;
        uint32_t offered = r[0x10 / 4];
        r[0x24 / 4] = 1;          // VIRTIO_F_VERSION_1
        r[0x20 / 4] = 1;
        r[0x24 / 4] = 0;
        r[0x20 / 4] = offered & ((offered & TSO) ? CHECKSUM | MAC | TSO : MAC);
        r[0x70 / 4] = 11;         // FEATURES_OK
        if (!(r[0x70 / 4] & 8))
            fail("the card does not take its features");
        for (int i = 0; i < 6; i++)
            own[i] = ((volatile uint8_t *)base)[0x100 + i];
        set_up(0, &receiver);
        set_up(1, &sender);
        for (int i = 0; i < SLOTS; i++)
        {
            receiver.descriptors[i] = (struct descriptor){ (uintptr_t)in[i], HEADER + LARGEST, 2, 0 };
            receiver.available.ring[i] = (uint16_t)i;
        }
        __asm__ volatile("" : : : "memory");
        receiver.available.index = SLOTS;
        r[0x70 / 4] = 15;         // DRIVER_OK
        r[0x50 / 4] = 0;
        return;
    }
    fail("no virtio network card of version 1");
}

static void notify_device(struct queue *q, uint32_t number)
{
    __asm__ volatile("mfence" : : : "memory");
    if (!(q->used.flags & 1))     // VIRTQ_USED_F_NO_NOTIFY
        registers[0x50 / 4] = number;
}

// Takes back what was sent; returns how many frames.
static int reap(void)
{
    int count = 0;
    for (; sender.seen != sender.used.index; count++)
        busy[sender.used.ring[sender.seen++ % ENTRIES].id] = 0;
    return count;
}

// Sends what is in a slot; whoever does so notifies.
static void submit(int slot, uint32_t length)
{
    sender.descriptors[slot] = (struct descriptor){ (uintptr_t)out[slot], HEADER + length, 0, 0 };
    sender.available.ring[sender.available.index % ENTRIES] = (uint16_t)slot;
    busy[slot] = 1;
    __asm__ volatile("" : : : "memory");
    sender.available.index++;
}

static void wait_for(int slot)
{
    if (!busy[slot])
        return;
    // Nobody may have told of it yet.
    notify_device(&sender, 1);
    while (busy[slot])
        reap();
}

static uint8_t *begin(int slot, const uint8_t *to, uint32_t type)
{
    wait_for(slot);
    clear(out[slot], HEADER);
    uint8_t *frame = out[slot] + HEADER;
    copy(frame, to, 6);
    copy(frame + 6, own, 6);
    put16(frame + 12, type);
    return frame + 14;
}

static void say_arp(int slot, uint32_t operation, const uint8_t *to, uint32_t target)
{
    static const uint8_t everybody[6] = { 255, 255, 255, 255, 255, 255 };
    uint8_t *arp = begin(slot, operation == 1 ? everybody : to, 0x0806);
    put32(arp, 0x00010800);
    put32(arp + 4, 0x06040000 | operation);
    copy(arp + 8, own, 6);
    put32(arp + 14, ADDRESS);
    copy(arp + 18, to, 6);
    put32(arp + 24, target);
    clear(arp + 28, 18);
    submit(slot, 60);
    notify_device(&sender, 1);
}

static void make_packet(uint8_t *ip, uint32_t length, uint32_t protocol)
{
    uint32_t sum = 0;
    put32(ip, 0x45000000 | length);
    put32(ip + 4, 0x00004000);
    put32(ip + 8, 0x40000000 | protocol << 16);
    put32(ip + 12, ADDRESS);
    put32(ip + 16, GATEWAY);
    for (int i = 0; i < 20; i += 2)
        sum += get16(ip + i);
    put16(ip + 10, ~((sum & 0xffff) + (sum >> 16)));
}

static void make_datagram(int slot, uint32_t length)
{
    uint8_t *ip = begin(slot, gateway, 0x0800), *udp = ip + 20;
    make_packet(ip, length - 14, 17);
    put16(udp, HERE);
    put16(udp + 2, THERE);
    put16(udp + 4, length - 34);
    put16(udp + 6, 0);
    put16(udp + 8, (uint32_t)slot);
}

// A received frame: ARP is dealt with; the slot of a datagram that came back, or -1.
static int look_at(const uint8_t *frame, uint32_t length)
{
    const uint8_t *packet = frame + 14, *udp = packet + 20;
    if (length >= 42 && get16(frame + 12) == 0x0806)
    {
        if (get16(packet + 6) == 2 && get32(packet + 14) == GATEWAY)
        {
            copy(gateway, packet + 8, 6);
            knows_gateway = 1;
        }
        else if (get16(packet + 6) == 1 && get32(packet + 24) == ADDRESS)
            say_arp(SLOTS, 2, packet + 8, get32(packet + 14));
        return -1;
    }
    if (length < 44 || get16(frame + 12) != 0x0800 || packet[0] != 0x45 || packet[9] != 17 || (get16(packet + 6) & 0x3fff) || get16(udp + 2) != HERE)
        return -1;
    return (int)get16(udp + 8);
}

static int receive(int again, uint32_t bytes)
{
    int count = 0, sent = 0, back = 0;
    for (; receiver.seen != receiver.used.index; back++)
    {
        volatile struct used_element *element = &receiver.used.ring[receiver.seen++ % ENTRIES];
        uint32_t place = element->id;
        int slot = look_at(in[place] + HEADER, element->length - HEADER);
        if (slot >= 0 && slot < SLOTS && awaited[slot])
        {
            awaited[slot] = 0;
            count++;
            if (again)
            {
                wait_for(slot);
                submit(slot, bytes);
                awaited[slot] = 1;
                sent++;
            }
        }
        receiver.available.ring[receiver.available.index % ENTRIES] = (uint16_t)place;
        __asm__ volatile("" : : : "memory");
        receiver.available.index++;
    }
    if (sent > 0)
        notify_device(&sender, 1);
    if (back > 0)
        notify_device(&receiver, 0);
    return count;
}

static void echo_row(uint32_t bytes, int depth)
{
    for (int slot = 0; slot < depth; slot++)
        make_datagram(slot, bytes);
    uint64_t done = 0, start = ticks(), now = start, last = start - PATIENCE;
    while ((now = ticks()) - start < ROW_TICKS)
    {
        reap();
        int came = receive(1, bytes);
        done += (uint64_t)came;
        if (came > 0)
            last = now;
        else if (now - last >= PATIENCE)
        {
            // At first, and when some were lost.
            for (int slot = 0; slot < depth; slot++)
            {
                wait_for(slot);
                submit(slot, bytes);
                awaited[slot] = 1;
            }
            notify_device(&sender, 1);
            last = now;
        }
    }
    print_row("echo", bytes, (uint64_t)depth, done, now - start);
    // What is on the way does not count for the next row.
    for (last = now; (now = ticks()) - last < PATIENCE / 10;)
        receive(0, 0);
    clear(awaited, SLOTS);
}

#ifdef SEND
// Frames to an address that nobody has: they end where the host's kernel has taken them.
static void send_row(const char *name, uint32_t bytes, int segments)
{
    static const uint8_t nobody[6] = { 2, 0, 0, 0, 0, 9 };
    for (int slot = 0; slot < SLOTS; slot++)
    {
        uint8_t *ip = begin(slot, nobody, 0x0800);
        make_packet(ip, bytes - 14, segments ? 6 : 17);
        clear(ip + 20, 20);
        if (!segments)
            continue;
        uint8_t *header = out[slot];
        header[0] = header[1] = 1; // NEEDS_CSUM, GSO_TCPV4
        *(uint16_t *)(header + 2) = 54;
        *(uint16_t *)(header + 4) = 1460;
        *(uint16_t *)(header + 6) = 34;
        *(uint16_t *)(header + 8) = 16;
        ip[32] = 0x50;
    }
    uint64_t done = 0, start = ticks(), now;
    while ((now = ticks()) - start < ROW_TICKS)
    {
        int sent = 0;
        done += (uint64_t)reap();
        for (int slot = 0; slot < SLOTS; slot++)
        {
            if (busy[slot])
                continue;
            submit(slot, bytes);
            sent++;
        }
        if (sent > 0)
            notify_device(&sender, 1);
        receive(0, 0);
    }
    for (int slot = 0; slot < SLOTS; slot++)
        wait_for(slot);
    print_row(name, bytes, SLOTS, done, now - start);
}
#endif

void bench_main(void)
{
    find_card();
    for (uint64_t asked = ticks() - PATIENCE; !knows_gateway; receive(0, 0))
    {
        if (ticks() - asked < PATIENCE)
            continue;
        say_arp(SLOTS, 1, gateway, GATEWAY);
        asked = ticks();
    }
#ifdef SEND
    send_row("send", 64, 0);
    send_row("send", 1400, 0);
    send_row("gso", 64000, 1);
#endif
    for (uint32_t bytes = 64; bytes; bytes = bytes == 64 ? 1400 : bytes == 1400 ? 60000 : 0)
    {
        echo_row(bytes, 1);
        echo_row(bytes, bytes == 60000 ? 4 : 32);
    }
    end(0);
}
