// A hot loop of loads and stores: 64 KiB copied and summed up word by word, 200 million instructions.
#include "pvh.h"
#include "long.h"
    BEGIN_LONG
    .equ FROM, 0x800000
    .equ TO, 0x900000
    .equ WORDS, 8192
    mov $3488, %ecx
1:  xor %eax, %eax
    xor %esi, %esi
2:  mov FROM(,%rsi,8), %rdx
    add %rdx, %rax
    mov %rdx, TO(,%rsi,8)
    add TO(,%rsi,8), %rax
    inc %rsi
    cmp $WORDS, %rsi
    jne 2b
    mov %rax, FROM
    dec %ecx
    jnz 1b
    END_LONG
