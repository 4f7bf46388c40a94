// A hot loop of calls: a function of two arguments that saves a register and calls another one, 200 million instructions.
#include "pvh.h"
#include "long.h"
    BEGIN_LONG
    mov $11111111, %ecx
    xor %eax, %eax
1:  mov %ecx, %edi
    mov %eax, %esi
    call outer
    dec %ecx
    jnz 1b
    jmp 9f
outer:
    push %rbx
    mov %edi, %ebx
    call inner
    add %ebx, %eax
    test $1, %al
    jz 2f
    inc %eax
2:  pop %rbx
    ret
inner:
    lea (%rdi,%rsi), %eax
    xor $0x55, %eax
    ret
9:  END_LONG
