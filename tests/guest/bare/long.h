// A bare guest in the mode a kernel lives in: long mode, the first gigabyte mapped by pages of 2 MiB, a stack below 4 MiB. BEGIN_LONG follows pvh.h's
// entry; END_LONG comes last.
.macro BEGIN_LONG
    .equ PML4, 0x200000
    .equ PDPT, 0x201000
    .equ PD, 0x202000
    movl $(PDPT + 3), PML4      // present, writable
    movl $(PD + 3), PDPT
    mov $0x83, %eax             // present, writable, large
    mov $PD, %edi
61: mov %eax, (%edi)
    add $0x200000, %eax
    add $8, %edi
    cmp $(PD + 4096), %edi
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
    mov $0x400000, %esp
.endm

.macro END_LONG
    POWER_OFF
    .balign 8
gdt:
    .quad 0
    .quad 0x00209a0000000000    // 64-bit code
gdt_pointer:
    .word . - gdt - 1
    .long gdt
.endm
