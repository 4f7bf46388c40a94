// Never ends by itself.
#include "pvh.h"
1:  jmp 1b
