// What a port exit costs: 20,000 writes to the serial port's scratch register. Prints the ticks of the time stamp counter.
#include "pvh.h"
    rdtsc
    mov %eax, %esi
    mov %edx, %edi
    mov $20000, %ecx
    mov $0x3ff, %edx
1:  out %al, %dx
    dec %ecx
    jnz 1b
    rdtsc
    sub %esi, %eax
    sbb %edi, %edx
    PRINT_EDX_EAX
    POWER_OFF
    DIGITS
