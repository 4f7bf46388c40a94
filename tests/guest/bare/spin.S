// What a kernel-mode instruction costs: 2,000,000 of them without an exit. Prints the ticks of the time stamp counter.
#include "pvh.h"
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
