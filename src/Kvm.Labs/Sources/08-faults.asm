; Lab 8: an exception, a double fault, a triple fault. 64-bit mode.

        org 0x8000
        bits 64

IDT     equ 0x9000

start:
        ; Your turn: a gate for vector 6 (invalid opcode) to on_invalid, as the one below
        mov edi, IDT + 8 * 16                   ; vector 8: double fault
        mov eax, on_double
        call set_gate
        lidt [idt_pointer]

        ud2                                     ; the instruction that never exists
after:
        xor eax, eax
        xor edx, edx
        xor ecx, ecx
        div ecx                                 ; vector 0, whose gate is not present: vector 11, and so vector 8

on_invalid:
        mov al, 'U'
        mov dx, 0x3f8
        out dx, al
        ; Your turn: the return address on the stack is that of ud2, two bytes long
        iretq

on_double:
        mov al, 'D'
        mov dx, 0x3f8
        out dx, al
        lidt [no_idt]                           ; now no exception can be delivered
        ud2

set_gate:                                       ; edi: gate, eax: handler below 64 KiB
        mov [rdi], ax
        mov word [rdi + 2], 0x08
        mov word [rdi + 4], 0x8e00
        ret

        align 8
idt_pointer:
        dw 0xfff
        dq IDT
no_idt: dw 0
        dq 0
