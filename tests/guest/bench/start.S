// The beginning of the bench guest: PVH entry (tests/guest/bare/pvh.h tells of it), 32-bit. Maps the first 4 GiB for everybody, goes to
// long mode, and leaves for user mode with I/O privilege, where every KVM runs code at the processor's own speed.
    .section .note.pvh, "a", @note
    .long 4, 8, 18
    .asciz "Xen"
    .quad start

    .equ USER_PAGE, 7               // present, writable, for everybody
    .equ LARGE_USER_PAGE, 0x87

    .section .text.start, "ax"
    .code32
    .globl start
start:
    mov $pml4, %edi
    movl $(pdpt + USER_PAGE), (%edi)
    mov $pdpt, %edi
    mov $(directories + USER_PAGE), %eax
    mov $4, %ecx
1:  mov %eax, (%edi)
    add $0x1000, %eax
    add $8, %edi
    loop 1b
    mov $directories, %edi          // 2,048 pages of 2 MiB
    mov $LARGE_USER_PAGE, %eax
    mov $2048, %ecx
2:  mov %eax, (%edi)
    add $0x200000, %eax
    add $8, %edi
    loop 2b
    mov $pml4, %eax
    mov %eax, %cr3
    mov $0x620, %eax                // CR4: PAE, OSFXSR, OSXMMEXCPT
    mov %eax, %cr4
    mov $0xc0000080, %ecx           // EFER.LME
    rdmsr
    or $0x100, %eax
    wrmsr
    mov $0x80000033, %eax           // CR0: PG, NE, ET, MP, PE
    mov %eax, %cr0
    lgdt gdt_pointer
    ljmp $8, $long_mode

    .code64
long_mode:
    mov $kernel_stack, %rsp
    mov $tss, %rax                  // the descriptor's base, for interrupts that never come
    mov %ax, gdt + 0x28 + 2
    shr $16, %rax
    mov %al, gdt + 0x28 + 4
    movw $104, tss + 102            // where the map of ports begins
    movb $0xff, tss + 104 + 8192
    mov $0x28, %ax
    ltr %ax
    pushq $0x1b                     // SS: user data
    pushq $user_stack
    pushq $0x3002                   // RFLAGS: IOPL 3, interrupts off
    pushq $0x23                     // CS: user code
    pushq $bench_main
    iretq

    .balign 16
gdt:
    .quad 0
    .quad 0x00209a0000000000        // 08: 64-bit code
    .quad 0x0000920000000000        // 10: data
    .quad 0x0000f20000000000        // 18: user data
    .quad 0x0020fa0000000000        // 20: user code
    .quad 0x0000890000002068, 0     // 28: TSS with a map of all ports
gdt_pointer:
    .word . - gdt - 1
    .quad gdt

    .bss
    .balign 4096
pml4: .skip 4096
    .globl pdpt
pdpt: .skip 4096
directories: .skip 4 * 4096
    .globl spare_directory
spare_directory: .skip 4096
    .skip 4096
kernel_stack:
    .skip 65536
user_stack:
tss: .skip 104 + 8192               // the map: zero is allowed
    .skip 8
