# memcpy(to rdi, from rsi, count rdx) -> to
.section .text.memcpy, "ax", @progbits
.globl memcpy
memcpy:
    mov rax, rdi
    mov rcx, rdx
    rep movsb
    ret

# memmove: from the end when the target begins inside the source.
.section .text.memmove, "ax", @progbits
.globl memmove
memmove:
    mov rax, rdi
    mov rcx, rdx
    mov r8, rdi
    sub r8, rsi
    cmp r8, rdx
    jb 1f
    rep movsb
    ret
1:
    lea rsi, [rsi + rdx - 1]
    lea rdi, [rdi + rdx - 1]
    std
    rep movsb
    cld
    ret

# memset(to rdi, value esi, count rdx) -> to
.section .text.memset, "ax", @progbits
.globl memset
memset:
    mov r8, rdi
    mov eax, esi
    mov rcx, rdx
    rep stosb
    mov rax, r8
    ret

# memcmp(a rdi, b rsi, count rdx) -> difference of the first bytes that differ
.section .text.memcmp, "ax", @progbits
.globl memcmp
.globl bcmp
memcmp:
bcmp:
    xor eax, eax
    mov rcx, rdx
    cmp rcx, rcx
    repe cmpsb
    je 1f
    movzx eax, byte ptr [rdi - 1]
    movzx ecx, byte ptr [rsi - 1]
    sub eax, ecx
1:
    ret

# strlen(text rdi) -> bytes before the zero
.section .text.strlen, "ax", @progbits
.globl strlen
strlen:
    mov rax, -1
1:
    inc rax
    cmp byte ptr [rdi + rax], 0
    jne 1b
    ret

.text
