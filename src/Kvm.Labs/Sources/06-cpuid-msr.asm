; Lab 6: CPUID and model-specific registers. What a processor says of itself is the VMM's decision.

        org 0x8000
        bits 64

SECRET  equ 0x4b560000          ; a register that reads 0x123456789abcdef0; 0x4b560001 takes a value

start:
        mov eax, 0x40000000     ; the leaf of hypervisors: the signature is in ebx, ecx, edx
        cpuid
        ; Your turn: keep the twelve characters at signature, in this order

        mov eax, 1
        cpuid
        ; Your turn: keep bit 13 of ecx (CMPXCHG16B) at has_cx16, 0 or 1

        ; Your turn: read SECRET (number in ecx, value in edx:eax), invert all 64 bits, write them to SECRET + 1

        mov esi, signature
        mov ecx, 12
        mov dx, 0x3f8
        rep outsb
        mov al, 0
        out 0xf4, al

signature: resb 12
has_cx16:  db 0xff
