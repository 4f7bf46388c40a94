; Lab 2: what the VMM is told. Port 0x510 answers with 0x12345678 when it is read with four bytes;
; port 0x514 takes what it is given. Look at size and direction of each exit.

        org 0x7c00
        bits 16

start:
        mov dx, 0x510
        in al, dx               ; Your turn: read all four bytes ...
        mov [answer], al        ; ... and keep them at answer

        mov dx, 0x514           ; Your turn: send the lower 16 bits, plus one, with one write of two bytes
        out dx, al

        ; Your turn: send text to port 0x3f8 with a single instruction (rep outsb: DS:SI, CX times)

        mov al, 0
        out 0xf4, al

answer: dd 0
text:   db 'in one go', 10
length  equ $ - text
