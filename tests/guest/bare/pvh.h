// The beginning of every bare guest: a PVH entry note (Xen's x86/HVM direct boot ABI, XEN_ELFNOTE_PHYS32_ENTRY) and 32-bit
// code without paging. No guest here has a stack.
    .section .note.pvh, "a", @note
    .long 4, 8, 18
    .asciz "Xen"
    .quad start

    .text
    .code32
    .globl start
start:

// Prints EDX:EAX in hexadecimal and a line feed to the serial port. Uses EBX, ECX, EDX, ESI and EBP.
.macro PRINT_EDX_EAX
    mov %eax, %esi
    mov %edx, %ebp
    mov $16, %ecx
71: shld $4, %ebp, %ebx
    and $15, %ebx
    shld $4, %esi, %ebp
    shl $4, %esi
    mov digits(%ebx), %al
    mov $0x3f8, %dx
    out %al, %dx
    dec %ecx
    jnz 71b
    mov $'\n', %al
    out %al, %dx
.endm

// Ends the run with exit code 0 by the debug-exit port.
.macro POWER_OFF
    xor %eax, %eax
    out %al, $0xf4
    hlt
.endm

.macro DIGITS
digits: .ascii "0123456789abcdef"
.endm
