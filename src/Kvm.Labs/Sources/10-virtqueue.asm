; Lab 10: a virtqueue by hand. A disk (virtio block, memory-mapped) is at 0xd0001000; its first sector is a text.
; 32-bit mode, flat. One queue of four descriptors in one page; all memory is zero at the start.

        org 0x8000
        bits 32

DISK    equ 0xd0001000
STATUS  equ 0x70                ; registers (virtio 1.2, 4.2.2)
DESC    equ 0x10000             ; four descriptors: address (8), length (4), flags (2), next (2)
AVAIL   equ 0x10100             ; flags (2), idx (2), ring (2 each)
USED    equ 0x10200             ; flags (2), idx (2), ring
HEADER  equ 0x11000             ; type (4), reserved (4), sector (8): all zero reads sector 0
SECTOR  equ 0x12000
RESULT  equ 0x13000             ; one byte: 0 is good

start:
        mov ebx, DISK
        mov byte [RESULT], 0xff
        mov dword [ebx + STATUS], 1             ; acknowledge
        mov dword [ebx + STATUS], 3             ; driver
        mov dword [ebx + 0x24], 1               ; features 32 to 63:
        mov dword [ebx + 0x20], 1               ;   VERSION_1
        mov dword [ebx + STATUS], 11            ; features are good
        mov dword [ebx + 0x30], 0               ; queue 0
        mov dword [ebx + 0x38], 4               ;   has four descriptors
        mov dword [ebx + 0x80], DESC
        mov dword [ebx + 0x90], AVAIL
        mov dword [ebx + 0xa0], USED
        mov dword [ebx + 0x44], 1               ;   is ready
        mov dword [ebx + STATUS], 15            ; driver is good

        mov dword [DESC], HEADER                ; descriptor 0: the header, read by the device
        mov dword [DESC + 8], 16
        mov word [DESC + 12], 1                 ;   flag 1: there is a next one
        mov word [DESC + 14], 1
        mov dword [DESC + 16], SECTOR           ; descriptor 1: 512 bytes
        mov dword [DESC + 24], 512
        ; Your turn: the device writes to it (flag 2), and there is a next one (flag 1), number 2
        ; Your turn: descriptor 2: RESULT, one byte, written by the device, the last one

        mov word [AVAIL + 4], 0                 ; ring[0]: the chain begins at descriptor 0
        ; Your turn: idx of the available ring becomes 1; then write the queue's number to QueueNotify (0x50)

        cmp word [USED + 2], 1                  ; the device put it back?
        jne failed

        mov esi, SECTOR
        mov dx, 0x3f8
.next:  lodsb
        test al, al
        jz .done
        out dx, al
        jmp .next
.done:  mov al, [RESULT]
        out 0xf4, al
failed: mov al, 1
        out 0xf4, al
