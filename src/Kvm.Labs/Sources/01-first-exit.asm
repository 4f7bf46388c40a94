; Lab 1: the first exit.
; A processor in real mode writes to a port. Nobody but the virtual machine monitor (VMM) is behind that port.

        org 0x7c00              ; where a PC's firmware loads a boot sector
        bits 16

start:
        mov dx, 0x3f8           ; the data register of a PC's first serial port: our console
        mov al, 'H'
        out dx, al              ; the first exit

        ; Your turn: print "Hello" and a line feed (10), then end the run with the value 0:
        ; whatever is written to port 0xf4 ends it.

        hlt                     ; interrupts are off: this sleeps for ever
