; Lab 7: halts, interrupts, the local APIC's timer, and an interrupt the VMM injects. 64-bit mode.

        org 0x8000
        bits 64

APIC    equ 0xfee00000
EOI     equ 0xb0
SPURIOUS equ 0xf0
LVT_TIMER equ 0x320
COUNT   equ 0x380
DIVIDE  equ 0x3e0
TIMER   equ 0x20                ; the vectors of our two interrupts
DEVICE  equ 0x31
IDT     equ 0x9000

start:
        mov edi, IDT + TIMER * 16
        mov eax, on_timer
        call set_gate
        mov edi, IDT + DEVICE * 16
        mov eax, on_device
        call set_gate
        lidt [idt_pointer]

        mov ebx, APIC
        mov dword [rbx + SPURIOUS], 0x1ff       ; the APIC on, spurious interrupts to vector 0xff
        mov dword [rbx + DIVIDE], 0xb           ; divide by 1
        mov dword [rbx + LVT_TIMER], TIMER | 1 << 17    ; periodic
        mov dword [rbx + COUNT], 200000

wait_for_ticks:
        ; Your turn: interrupts are off. Let them in, so that hlt can be left.
        hlt
        cmp dword [ticks], 3
        jb wait_for_ticks
        mov dword [rbx + COUNT], 0              ; the timer off

        mov dx, 0x530
        mov al, DEVICE
        out dx, al                              ; asks the machine for an interrupt with this vector
wait_for_device:
        cmp dword [device], 0
        je wait_for_device
        mov al, 0
        out 0xf4, al

on_timer:
        inc dword [ticks]
        ; Your turn: without an end of interrupt (write 0 to APIC + EOI), this was the last one
        iretq

on_device:
        inc dword [device]
        mov dword [rbx + EOI], 0
        iretq

set_gate:                                       ; edi: gate, eax: handler below 64 KiB
        mov [rdi], ax
        mov word [rdi + 2], 0x08                ; 64-bit code
        mov word [rdi + 4], 0x8e00              ; present, interrupt gate
        ret

        align 8
idt_pointer:
        dw 0xfff
        dq IDT
ticks:  dd 0
device: dd 0
