// The bench guest: drives a virtio block device itself, by polling, from user mode, and prints what it did:
//   NAME BYTES DEPTH REQUESTS TICKS        (ticks of the time stamp counter)
// The same file boots under kvmsharp and QEMU's microvm. It takes the first block device behind virtio-mmio, else behind virtio-pci.
// virtio 1.2: 2.7 (split queues), 3.1.1 (initialization), 4.1 (PCI), 4.2 (MMIO), 5.2 (block).
#include "guest.h"

#define MOST_DEPTH 32
#define LARGEST (128 << 10)
#define SECTOR 512
#define FLUSH (1u << 9)           // VIRTIO_BLK_F_FLUSH: without it the device must write through (5.2.5.1)
#define DISK_BYTES (64ull << 20)

struct header { uint32_t type, reserved; uint64_t sector; };

static struct descriptor descriptors[ENTRIES] __attribute__((aligned(4096)));
static struct { uint16_t flags, index, ring[ENTRIES], used_event; } available __attribute__((aligned(4096)));
static volatile struct { uint16_t flags, index; struct used_element ring[ENTRIES]; uint16_t available_event; } used __attribute__((aligned(4096)));
static struct header headers[MOST_DEPTH];
static volatile uint8_t status[MOST_DEPTH];
static uint8_t data[MOST_DEPTH][LARGEST] __attribute__((aligned(4096)));

static volatile void *doorbell;
static int doorbell_is_32_bits;
static uint16_t seen;
static uint64_t noise = 0x2545f4914f6cdd1d;

// --- virtio-mmio (virtio 1.2, 4.2.2) ---

static int use_mmio(void)
{
    for (uintptr_t base = 0xfeb00000; base < 0xfeb10000; base += 0x200)
    {
        volatile uint32_t *r = (volatile uint32_t *)base;
        if (r[0] != 0x74726976 || r[1] != 2 || r[2] != 2) // "virt", version 2, a block device
            continue;
        r[0x70 / 4] = 0;
        r[0x70 / 4] = 3;          // ACKNOWLEDGE, DRIVER
        r[0x24 / 4] = 1;          // VIRTIO_F_VERSION_1
        r[0x20 / 4] = 1;
        r[0x24 / 4] = 0;
        r[0x20 / 4] = FLUSH;
        r[0x70 / 4] = 11;         // FEATURES_OK
        if (!(r[0x70 / 4] & 8))
            fail("the device does not take its features");
        r[0x30 / 4] = 0;
        if (r[0x34 / 4] < ENTRIES)
            fail("the queue is too short");
        r[0x38 / 4] = ENTRIES;
        r[0x80 / 4] = (uint32_t)(uintptr_t)descriptors;
        r[0x84 / 4] = 0;
        r[0x90 / 4] = (uint32_t)(uintptr_t)&available;
        r[0x94 / 4] = 0;
        r[0xa0 / 4] = (uint32_t)(uintptr_t)&used;
        r[0xa4 / 4] = 0;
        r[0x44 / 4] = 1;
        r[0x70 / 4] = 15;         // DRIVER_OK
        doorbell = &r[0x50 / 4];
        doorbell_is_32_bits = 1;
        return 1;
    }
    return 0;
}

// --- virtio-pci (virtio 1.2, 4.1) ---

extern uint64_t pdpt[512], spare_directory[512];

static uint32_t pci_read(int slot, int offset)
{
    out32(0xcf8, 0x80000000u | (uint32_t)slot << 11 | (uint32_t)(offset & ~3));
    return in32(0xcfc);
}

static void pci_write(int slot, int offset, uint32_t value)
{
    out32(0xcf8, 0x80000000u | (uint32_t)slot << 11 | (uint32_t)offset);
    out32(0xcfc, value);
}

// Registers above 4 GiB get a directory of their own. A page that was not present needs no invalidation.
static uintptr_t map(uint64_t address)
{
    uint64_t gigabyte = address >> 30;
    if (gigabyte < 4)
        return address;
    if (gigabyte >= 512)
        fail("the registers are out of reach");
    for (int i = 0; i < 512; i++)
        spare_directory[i] = (gigabyte << 30) + ((uint64_t)i << 21) + 0x87;
    ((volatile uint64_t *)pdpt)[gigabyte] = (uint64_t)(uintptr_t)spare_directory | 7;
    return address;
}

static uintptr_t region(int slot, int capability)
{
    int bar = pci_read(slot, capability + 4) & 0xff;
    uint64_t address = pci_read(slot, 0x10 + 4 * bar);
    if ((address & 6) == 4)
        address |= (uint64_t)pci_read(slot, 0x14 + 4 * bar) << 32;
    return map((address & ~15ull) + pci_read(slot, capability + 8));
}

static int use_pci(void)
{
    for (int slot = 0; slot < 32; slot++)
    {
        if (pci_read(slot, 0) != 0x10421af4)
            continue;
        pci_write(slot, 4, 6);    // memory space, bus master
        volatile uint8_t *common = 0, *notify = 0;
        uint32_t multiplier = 0;
        for (int at = pci_read(slot, 0x34) & 0xfc; at != 0; at = pci_read(slot, at) >> 8 & 0xfc)
        {
            uint32_t head = pci_read(slot, at);
            if ((head & 0xff) != 9)
                continue;
            if (head >> 24 == 1)
                common = (volatile uint8_t *)region(slot, at);
            if (head >> 24 == 2)
            {
                notify = (volatile uint8_t *)region(slot, at);
                multiplier = pci_read(slot, at + 16);
            }
        }
        if (!common || !notify)
            fail("a device without registers");
        common[20] = 0;
        while (common[20] != 0)
            ;
        common[20] = 3;
        *(volatile uint32_t *)(common + 8) = 1;
        *(volatile uint32_t *)(common + 12) = 1;
        *(volatile uint32_t *)(common + 8) = 0;
        *(volatile uint32_t *)(common + 12) = FLUSH;
        common[20] = 11;
        if (!(common[20] & 8))
            fail("the device does not take its features");
        *(volatile uint16_t *)(common + 22) = 0;
        if (*(volatile uint16_t *)(common + 24) < ENTRIES)
            fail("the queue is too short");
        *(volatile uint16_t *)(common + 24) = ENTRIES;
        *(volatile uint64_t *)(common + 32) = (uintptr_t)descriptors;
        *(volatile uint64_t *)(common + 40) = (uintptr_t)&available;
        *(volatile uint64_t *)(common + 48) = (uintptr_t)&used;
        *(volatile uint16_t *)(common + 28) = 1;
        common[20] = 15;
        doorbell = notify + *(volatile uint16_t *)(common + 30) * multiplier;
        return 1;
    }
    return 0;
}

// --- requests ---

static uint64_t random_number(void)
{
    noise ^= noise << 13;
    noise ^= noise >> 7;
    return noise ^= noise << 17;
}

static void submit(int slot, uint32_t type, uint32_t bytes)
{
    struct descriptor *d = &descriptors[slot * 3];
    headers[slot] = (struct header){ type, 0, random_number() % (DISK_BYTES / bytes) * (bytes / SECTOR) };
    d[0] = (struct descriptor){ (uintptr_t)&headers[slot], sizeof(struct header), 1, (uint16_t)(slot * 3 + 1) };
    d[1] = (struct descriptor){ (uintptr_t)data[slot], bytes, (uint16_t)(type == 0 ? 3 : 1), (uint16_t)(slot * 3 + 2) };
    d[2] = (struct descriptor){ (uintptr_t)&status[slot], 1, 2, 0 };
    status[slot] = 0xff;
    available.ring[available.index % ENTRIES] = (uint16_t)(slot * 3);
    __asm__ volatile("" : : : "memory");
    available.index++;
}

static void notify_device(void)
{
    __asm__ volatile("mfence" : : : "memory");
    if (used.flags & 1)           // VIRTQ_USED_F_NO_NOTIFY
        return;
    if (doorbell_is_32_bits)
        *(volatile uint32_t *)doorbell = 0;
    else
        *(volatile uint16_t *)doorbell = 0;
}

// Takes what is done; returns how many requests, and fails on a bad status. Each is asked for again while GO says so.
static int reap(int again, uint32_t type, uint32_t bytes)
{
    int count = 0;
    while (seen != used.index)
    {
        int slot = (int)(used.ring[seen++ % ENTRIES].id / 3);
        if (status[slot] != 0)
            fail("the device reported an error");
        count++;
        if (again)
            submit(slot, type, bytes);
    }
    if (again && count > 0)
        notify_device();
    return count;
}

static void row(const char *name, uint32_t type, uint32_t bytes, int depth)
{
    uint64_t requests = 0, start = ticks(), now = start;
    int flying = depth;
    for (int slot = 0; slot < depth; slot++)
        submit(slot, type, bytes);
    notify_device();
    while ((now = ticks()) - start < ROW_TICKS)
        requests += (uint64_t)reap(1, type, bytes);
    while (flying > 0)
        flying -= reap(0, type, bytes);
    print_row(name, bytes, (uint64_t)depth, requests, now - start);
}

void bench_main(void)
{
    if (!use_mmio() && !use_pci())
        fail("no virtio block device of version 1");
    available.flags = 1;          // VIRTQ_AVAIL_F_NO_INTERRUPT: the queue is polled
    for (int depth = 1; depth <= MOST_DEPTH; depth *= MOST_DEPTH)
        for (uint32_t bytes = 4096; bytes <= LARGEST; bytes *= 32)
        {
            row("read", 0, bytes, depth);
            row("write", 1, bytes, depth);
        }
    end(0);
}
