# memcpy(to a0, from a1, count a2) -> to
.section .text.memcpy, "ax", @progbits
.globl memcpy
memcpy:
    mv a3, a0
    beqz a2, 2f
1:
    lbu a4, 0(a1)
    sb a4, 0(a3)
    addi a1, a1, 1
    addi a3, a3, 1
    addi a2, a2, -1
    bnez a2, 1b
2:
    ret

# memmove: from the end when the target begins inside the source.
.section .text.memmove, "ax", @progbits
.globl memmove
memmove:
    sub a3, a0, a1
    bltu a3, a2, 3f
    tail memcpy
3:
    add a1, a1, a2
    add a3, a0, a2
    beqz a2, 2f
1:
    addi a1, a1, -1
    addi a3, a3, -1
    lbu a4, 0(a1)
    sb a4, 0(a3)
    addi a2, a2, -1
    bnez a2, 1b
2:
    ret

# memset(to a0, value a1, count a2) -> to
.section .text.memset, "ax", @progbits
.globl memset
memset:
    mv a3, a0
    beqz a2, 2f
1:
    sb a1, 0(a3)
    addi a3, a3, 1
    addi a2, a2, -1
    bnez a2, 1b
2:
    ret

# memcmp(a a0, b a1, count a2) -> difference of the first bytes that differ
.section .text.memcmp, "ax", @progbits
.globl memcmp
.globl bcmp
memcmp:
bcmp:
    mv a3, a0
    li a0, 0
1:
    beqz a2, 2f
    lbu a4, 0(a3)
    lbu a5, 0(a1)
    addi a3, a3, 1
    addi a1, a1, 1
    addi a2, a2, -1
    sub a0, a4, a5
    beqz a0, 1b
2:
    ret

# strlen(text a0) -> bytes before the zero
.section .text.strlen, "ax", @progbits
.globl strlen
strlen:
    mv a3, a0
1:
    lbu a4, 0(a3)
    addi a3, a3, 1
    bnez a4, 1b
    sub a0, a3, a0
    addi a0, a0, -1
    ret

.text
