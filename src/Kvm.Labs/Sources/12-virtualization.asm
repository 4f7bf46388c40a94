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

        ; Your turn: print text with one exit instead of two a character
        mov esi, text
.next:  mov dx, 0x3fd           ; line status: bit 5, ready to send
.busy:  in al, dx
        test al, 0x20
        jz .busy
        lodsb
        test al, al
        jz .done
        mov dx, 0x3f8
        out dx, al
        jmp .next
.done:
        mov al, 0
        out 0xf4, al

text:   db 'who knows the host asks it', 10, 0
        align 8
ones:   dq 0
