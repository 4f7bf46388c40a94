// Six instructions: one character, then the end.
#include "pvh.h"
    mov $0x3f8, %edx
    mov $'K', %al
    out %al, %dx
    xor %eax, %eax
    out %al, $0xf4
    hlt
