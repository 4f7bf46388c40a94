// What a kernel's instruction costs: 2,000,000 of them without an exit, in the mode a kernel lives in (long mode, code in a page of
// 2 MiB, so that whoever interprets walks three levels for each fetch).
#include "pvh.h"
#include "long.h"
    BEGIN_LONG
    mov $1000000, %ecx
1:  dec %ecx
    jnz 1b
    END_LONG
