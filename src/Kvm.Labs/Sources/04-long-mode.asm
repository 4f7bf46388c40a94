; Lab 4: 64-bit mode and page tables. The machine starts this program in 32-bit mode without paging,
; with descriptors for 64-bit code (0x08), 32-bit code (0x10) and data (0x18).
; The virtual address 0x40000000 is to lead to physical 0x200000.

        org 0x8000
        bits 32

PML4    equ 0x10000             ; three tables of 4 KiB; all memory is zero at the start
PDPT    equ 0x11000
PD_LOW  equ 0x12000
PD_WIN  equ 0x13000             ; for addresses from 0x40000000
WINDOW  equ 0x40000000

start:
        mov dword [PML4], PDPT + 3      ; present, writable
        mov dword [PDPT], PD_LOW + 3
        mov dword [PD_LOW], 0x83        ; the first 2 MiB to themselves: a large page

        ; Your turn: PDPT entry 1 (0x40000000 / 1 GiB) leads to PD_WIN, whose entry 0 is a large page at 0x200000

        mov eax, cr4
        or eax, 1 << 5          ; CR4.PAE
        mov cr4, eax
        mov eax, PML4
        mov cr3, eax
        mov ecx, 0xc0000080     ; IA32_EFER
        rdmsr
        or eax, 1 << 8          ; EFER.LME
        wrmsr
        hlt                     ; Your turn: instead, set CR0.PG (bit 31)
        jmp 0x08:long_mode

        bits 64
long_mode:
        mov eax, WINDOW
        mov dx, 0x520
        out dx, eax             ; asks the machine to show the walk of this address
        mov rbx, 0x4b564d5348415250
        mov [rax], rbx          ; lands at physical 0x200000
        mov al, 0
        out 0xf4, al
