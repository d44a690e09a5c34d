// memcpy(to x0, from x1, count x2) -> to
.section .text.memcpy, "ax", %progbits
.globl memcpy
memcpy:
    mov x3, x0
    cbz x2, 2f
1:
    ldrb w4, [x1], #1
    strb w4, [x3], #1
    subs x2, x2, #1
    b.ne 1b
2:
    ret

// memmove: from the end when the target begins inside the source.
.section .text.memmove, "ax", %progbits
.globl memmove
memmove:
    sub x3, x0, x1
    cmp x3, x2
    b.hs memcpy
    add x1, x1, x2
    add x3, x0, x2
    cbz x2, 2f
1:
    ldrb w4, [x1, #-1]!
    strb w4, [x3, #-1]!
    subs x2, x2, #1
    b.ne 1b
2:
    ret

// memset(to x0, value w1, count x2) -> to
.section .text.memset, "ax", %progbits
.globl memset
memset:
    mov x3, x0
    cbz x2, 2f
1:
    strb w1, [x3], #1
    subs x2, x2, #1
    b.ne 1b
2:
    ret

// memcmp(a x0, b x1, count x2) -> difference of the first bytes that differ
.section .text.memcmp, "ax", %progbits
.globl memcmp
.globl bcmp
memcmp:
bcmp:
    mov x3, x0
    mov w0, wzr
1:
    cbz x2, 2f
    ldrb w4, [x3], #1
    ldrb w5, [x1], #1
    sub x2, x2, #1
    subs w0, w4, w5
    b.eq 1b
2:
    ret

// strlen(text x0) -> bytes before the zero
.section .text.strlen, "ax", %progbits
.globl strlen
strlen:
    mov x3, x0
1:
    ldrb w4, [x3], #1
    cbnz w4, 1b
    sub x0, x3, x0
    sub x0, x0, #1
    ret

.text
