; Lab 11: which pages were written, and a snapshot. 32-bit mode, flat.
; Port 0xe0: the machine notes the pages written since the last time. Port 0xe1: written, it takes a snapshot of memory and
; registers; read, it says how often it went back to one. Port 0xe2: it goes back to the snapshot.

        org 0x8000
        bits 32

PAGES   equ 0x100000            ; pages 256 and up

start:
        ; round 0: everything is copied while the guest runs on
        mov dword [PAGES], 1
        mov dword [PAGES + 0x3000], 1
        out 0xe0, al

        mov dword [PAGES + 0x1000], 2
        mov dword [PAGES + 0x2ffc], 2
        out 0xe0, al

        mov dword [PAGES], 10
        out 0xe1, al           ; the snapshot; whoever comes back goes on behind this instruction
        in al, 0xe1
        test al, al
        jnz back

        mov dword [PAGES], 99   ; what is done now ...
        out 0xe2, al           ; ... is undone
        mov al, 1
        out 0xf4, al

back:
        mov al, 0
        out 0xf4, al
