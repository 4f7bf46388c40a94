        org 0x7c00
        bits 16

start:
        mov dx, 0x510
        in eax, dx              ; size 4, direction in
        mov [answer], eax

        mov dx, 0x514
        inc ax
        out dx, ax              ; size 2, direction out

        mov dx, 0x3f8
        mov si, text
        mov cx, length
        rep outsb               ; one instruction, ten bytes

        mov al, 0
        out 0xf4, al

answer: dd 0
text:   db 'in one go', 10
length  equ $ - text
