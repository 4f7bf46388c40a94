; Lab 9: a second processor. It sleeps until the first one sends it INIT and a start-up interrupt (SIPI).
; 32-bit mode, flat; the second processor begins in real mode.

        org 0x8000
        bits 32

APIC    equ 0xfee00000
ICR_LOW equ 0x300
ICR_HIGH equ 0x310
SPURIOUS equ 0xf0

start:
        mov ebx, APIC
        mov dword [ebx + SPURIOUS], 0x1ff
        mov dword [ebx + ICR_HIGH], 1 << 24     ; to the processor with APIC id 1
        mov dword [ebx + ICR_LOW], 0x4500       ; INIT, assert
        hlt                                     ; Your turn: instead, send a SIPI (delivery mode 6) whose vector is the page of second: 9
.wait:
        pause
        cmp dword [started], 0
        je .wait

        mov al, 0
        out 0xf4, al

started: dd 0
id:      dd 0xff

        org 0x9000                              ; a SIPI's vector is a page number
        bits 16
second:
        xor ax, ax
        mov ds, ax
        mov eax, 1
        cpuid
        shr ebx, 24                             ; the initial APIC id
        mov [id], ebx
        ; Your turn: tell the first processor that we are here (started = 1)
        cli
        hlt
