        org 0x7c00
        bits 16

start:
        mov dx, 0x3f8
        mov si, text
.next:  lodsb                   ; al = [si], si += 1
        test al, al
        jz .done
        out dx, al              ; an exit for each character
        jmp .next

.done:  mov al, 0
        out 0xf4, al

text:   db 'Hello', 10, 0
