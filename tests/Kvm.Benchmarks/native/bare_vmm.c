// The least VMM in C that runs the bare guests (tests/guest/bare): what the same exits cost without kvmsharp. It gives the
// guest what kvmsharp gives it (in-kernel interrupt chips, a flat 32-bit start by PVH) and answers the same ports.
#include <elf.h>
#include <err.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MEMORY (16u << 20)

static int must(int result, const char *what)
{
    if (result < 0)
        err(1, "%s", what);
    return result;
}

static uint64_t load(const char *path, unsigned char *memory)
{
    int file = must(open(path, O_RDONLY), path);
    static unsigned char image[1 << 20];
    ssize_t size = read(file, image, sizeof image);
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)image;
    if (size < (ssize_t)sizeof *header || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0)
        errx(3, "%s is not an ELF image", path);
    const Elf64_Phdr *segment = (const Elf64_Phdr *)(image + header->e_phoff);
    for (int i = 0; i < header->e_phnum; i++)
        if (segment[i].p_type == PT_LOAD && segment[i].p_paddr + segment[i].p_memsz <= MEMORY)
            memcpy(memory + segment[i].p_paddr, image + segment[i].p_offset, segment[i].p_filesz);
    close(file);
    return header->e_entry;
}

static void set_registers(int vcpu, uint64_t entry)
{
    struct kvm_segment flat = { .limit = 0xffffffff, .selector = 0x18, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1 };
    struct kvm_sregs sregs;
    must(ioctl(vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat;
    flat.selector = 0x10;
    flat.type = 11;
    sregs.cs = flat;
    sregs.cr0 = 0x11;
    must(ioctl(vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
    struct kvm_regs regs = { .rip = entry, .rflags = 2 };
    must(ioctl(vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
}

static int run(int vcpu, volatile struct kvm_run *page)
{
    static uint8_t scratch;
    for (;;)
    {
        must(ioctl(vcpu, KVM_RUN, 0), "KVM_RUN");
        if (page->exit_reason != KVM_EXIT_IO || page->io.direction != KVM_EXIT_IO_OUT)
            errx(1, "exit %u", page->exit_reason);
        uint8_t value = *((volatile uint8_t *)page + page->io.data_offset);
        switch (page->io.port)
        {
        case 0x3f8:
            putchar(value);
            break;
        case 0x3ff:
            scratch = value;
            break;
        case 0xf4:
            (void)scratch;
            return value == 0 ? 0 : 20 + value;
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 2)
        errx(2, "usage: bare_vmm GUEST|--tsc-khz");
    int kvm = must(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
    int vm = must(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
    if (strcmp(argv[1], "--tsc-khz") == 0)
    {
        int vcpu = must(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
        printf("%d\n", must(ioctl(vcpu, KVM_GET_TSC_KHZ, 0), "KVM_GET_TSC_KHZ"));
        return 0;
    }
    must(ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000), "KVM_SET_TSS_ADDR");
    must(ioctl(vm, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
    unsigned char *memory = mmap(0, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct kvm_userspace_memory_region region = { .memory_size = MEMORY, .userspace_addr = (uint64_t)memory };
    must(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
    uint64_t entry = load(argv[1], memory);
    int vcpu = must(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
    int size = must(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
    volatile struct kvm_run *page = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    set_registers(vcpu, entry);
    return run(vcpu, page);
}
