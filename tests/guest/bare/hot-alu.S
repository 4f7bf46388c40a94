// A hot loop of arithmetic: 200 million instructions on registers, one branch in eleven; the sum goes back into the loop.
#include "pvh.h"
#include "long.h"
    BEGIN_LONG
    mov $18181818, %ecx
    mov $0x9e3779b97f4a7c15, %r8
    mov $1, %eax
1:  mov %rax, %rdx
    shl $13, %rdx
    xor %rdx, %rax
    mov %rax, %rdx
    shr $7, %rdx
    xor %rdx, %rax
    imul %r8, %rax
    add %rcx, %rax
    lea 3(%rax,%rdx,2), %rbx
    dec %ecx
    jnz 1b
    END_LONG
