; Lab 3: from real mode to 32-bit protected mode.

        org 0x7c00
        bits 16

start:
        cli
        lgdt [gdt_pointer]
        mov eax, cr0
        hlt                     ; Your turn: instead, set bit 0 (PE) of eax
        mov cr0, eax
        jmp 0x08:protected      ; loads CS: until then the old segment's base and size are used

        bits 32
protected:
        mov ax, 0x10
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov esp, 0x7000
        mov esi, text
        mov dx, 0x3f8
.next:  lodsb
        test al, al
        jz .done
        out dx, al
        jmp .next
.done:  mov al, 0
        out 0xf4, al

text:   db '32 bits', 10, 0

        align 8
gdt:    dq 0                    ; the null descriptor
        dq 0                    ; Your turn, 0x08: code, base 0, limit 4 GiB, 32-bit, readable
        dq 0                    ; Your turn, 0x10: data, base 0, limit 4 GiB, writable
gdt_end:
gdt_pointer:
        dw gdt_end - gdt - 1
        dd gdt
