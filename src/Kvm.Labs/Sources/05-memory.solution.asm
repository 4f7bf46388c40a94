; Lab 5: memory that is a device, and page tables behind page tables. 64-bit mode; the first GiB and the last GiB below 4 GiB
; are mapped to themselves by tables at 0x1000 (PML4), 0x2000 (PDPT), 0x3000 and 0x4000.

        org 0x8000
        bits 64

DEVICE  equ 0xd0000000          ; a page of registers, no memory
PDPT    equ 0x2000
PD      equ 0x10000
PT      equ 0x11000
FRAME_A equ 0x20000
FRAME_B equ 0x21000
WINDOW  equ 0x40000000

start:
        mov eax, DEVICE
        mov rbx, 0x1122334455667788
        mov [rax + 8], rbx
        xor ebx, ebx
        mov rbx, [rax + 8]

        ; a window of one page: PDPT[1] -> PD[0] -> PT[0] -> FRAME_A
        mov qword [PDPT + 8], PD + 3
        mov qword [PD], PT + 3
        mov qword [PT], FRAME_A + 3
        mov ecx, WINDOW
        mov qword [rcx], 0x1111         ; to frame A: the processor keeps the translation
        mov qword [PT], FRAME_B + 3     ; the table says frame B now
        invlpg [rcx]
        mov qword [rcx], 0x2222         ; to frame B?

        mov [seen], rbx
        mov al, 0
        out 0xf4, al

        align 8
seen:   dq 0
