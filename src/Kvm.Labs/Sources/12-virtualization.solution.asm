; Lab 12: full and paravirtualization; completion and translation seen live. 64-bit mode.
; A serial port is driven as on a real machine: wait until it is ready, send a byte. Port 0x550 is no device of any machine:
; it takes the address of a text (four bytes) and prints it, a hypercall in the simplest form.

        org 0x8000
        bits 64

start:
        mov rax, 0x5a5a5a5a5a5a5a5a
        popcnt rcx, rax         ; some KVMs do not know it in kernel mode: see the exits
        mov [ones], rcx

        mov ecx, 20000          ; a loop that the software engine translates to host code
.hot:   lea rbx, [rbx + rcx*2]
        xor rbx, rcx
        dec ecx
        jnz .hot

        mov eax, text
        mov dx, 0x550
        out dx, eax
        mov al, 0
        out 0xf4, al

text:   db 'who knows the host asks it', 10, 0
        align 8
ones:   dq 0
