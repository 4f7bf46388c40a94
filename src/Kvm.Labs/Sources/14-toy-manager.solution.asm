; Lab 14: a toy manager of virtual machines with a time-slice scheduler, and three mistakes. 32-bit mode, flat.
; queue holds the machines that want to run, in their order; mutex guards it. While a machine runs (port 0xe4), another thread of
; the manager registers machines that arrive: it appends them to queue, if mutex is 0 at that time.
; The schedule is compared with that of the simulator of this project for the policy rr, slice 2 ms.

        org 0x8000
        bits 32

SLICE   equ 2
ENTRY   equ 12                  ; id (4), ms it still needs (4), ms it has run in this slice (4)

again:
        call take_lock
        cmp dword [count], 0
        je nobody
        mov dword [mutex], 0     ; nobody holds a lock while a machine runs
        mov eax, [queue]        ; the first one runs for one millisecond
        out 0xe4, al
        call take_lock
        inc dword [queue + 8]
        dec dword [queue + 4]
        jz finished
        cmp dword [queue + 8], SLICE
        jb next
        call rotate             ; its slice is over: to the end of the queue
        jmp next

finished:
        call remove             ; who is done leaves the queue
        jmp next

nobody:
        in al, 0xe6            ; how many are still to come?
        test al, al
        jz all_done
        mov dword [mutex], 0
        out 0xe5, al           ; sleep for a millisecond
        jmp again

next:
        mov dword [mutex], 0
        jmp again

all_done:
        mov al, 0
        out 0xf4, al

rotate: call remove             ; leaves the entry in edx, ebx, ebp
        xor ebp, ebp            ; the next slice begins at 0
        mov eax, [count]
        imul eax, eax, ENTRY
        mov [queue + eax], edx
        mov [queue + eax + 4], ebx
        mov [queue + eax + 8], ebp
        inc dword [count]
        ret

remove: mov edx, [queue]
        mov ebx, [queue + 4]
        mov ebp, [queue + 8]
        dec dword [count]
        imul ecx, [count], ENTRY
        mov esi, queue + ENTRY
        mov edi, queue
        rep movsb
        ret

take_lock:
        mov eax, 1
        xchg eax, [mutex]
        test eax, eax
        jnz take_lock
        ret

        align 16
mutex:  dd 0
count:  dd 0
queue:  resb ENTRY * 9
