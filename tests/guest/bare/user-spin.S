// Load for a scheduler: a loop in user mode that never ends.
#include "pvh.h"
#include "user.h"
    BEGIN_USER
1:  inc %rcx
    jmp 1b
    END_USER
