// A bare guest that leaves for user mode with I/O privilege, where every KVM runs code at the processor's own speed: long mode, the first
// 16 MiB mapped for everybody, interrupts off. BEGIN_USER follows pvh.h's entry; END_USER comes last.
.macro BEGIN_USER
    .equ PML4, 0x200000
    .equ PDPT, 0x201000
    .equ PD, 0x202000
    movl $(PDPT + 7), PML4      // present, writable, for everybody
    movl $(PD + 7), PDPT
    mov $0x87, %eax             // the same, large
    mov $PD, %edi
61: mov %eax, (%edi)
    add $0x200000, %eax
    add $8, %edi
    cmp $(PD + 64), %edi
    jb 61b
    mov $PML4, %eax
    mov %eax, %cr3
    mov $0x20, %eax             // CR4.PAE
    mov %eax, %cr4
    mov $0xc0000080, %ecx       // EFER.LME
    rdmsr
    or $0x100, %eax
    wrmsr
    mov $0x80000011, %eax       // CR0.PG, ET, PE
    mov %eax, %cr0
    lgdt gdt_pointer
    ljmp $8, $long_mode
    .code64
long_mode:
    mov $0x300000, %esp
    pushq $0x1b                 // SS: user data
    pushq $0x400000
    pushq $0x3002               // RFLAGS: IOPL 3
    pushq $0x23                 // CS: user code
    pushq $user_mode
    iretq
user_mode:
.endm

.macro END_USER
    xor %eax, %eax
    out %al, $0xf4
62: jmp 62b
    .balign 8
gdt:
    .quad 0
    .quad 0x00209a0000000000    // 08: 64-bit code
    .quad 0x0000920000000000    // 10: data
    .quad 0x0000f20000000000    // 18: user data
    .quad 0x0020fa0000000000    // 20: user code
gdt_pointer:
    .word . - gdt - 1
    .long gdt
.endm
