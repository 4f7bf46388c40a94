// What a kernel's instruction costs: 2,000,000 of them without an exit, in the mode a kernel lives in (long mode, code in a page of
// 2 MiB, so that whoever interprets walks three levels for each fetch). Prints the ticks of the time stamp counter.
#include "pvh.h"
    .equ PML4, 0x200000
    .equ PDPT, 0x201000
    .equ PD, 0x202000
    movl $(PDPT + 3), PML4      // present, writable
    movl $(PD + 3), PDPT
    movl $0x83, PD              // 2 MiB from 0: present, writable, large
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
    rdtsc
    mov %eax, %esi
    mov %edx, %edi
    mov $1000000, %ecx
1:  dec %ecx
    jnz 1b
    rdtsc
    sub %esi, %eax
    sbb %edi, %edx
    PRINT_EDX_EAX
    POWER_OFF
    DIGITS

    .balign 8
gdt:
    .quad 0
    .quad 0x00209a0000000000    // 64-bit code
gdt_pointer:
    .word . - gdt - 1
    .long gdt
