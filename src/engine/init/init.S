/* The bytes of docker-init, for init_file.c. */
    .section .rodata
    .global engine_init_begin, engine_init_end
engine_init_begin:
    .incbin INIT
engine_init_end:
    .byte 0
    .section .note.GNU-stack, "", %progbits
