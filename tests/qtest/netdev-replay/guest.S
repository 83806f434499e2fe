# SPDX-License-Identifier: GPL-2.0-or-later
#
# The guests of netdev-replay-test, in 16-bit code.  Each is the start of a
# BIOS image of 64 KiB, so it runs at f000:0000.  After a change, run
# assemble-guest.sh in this folder; it writes guest.h, which the test includes.
# There, every global symbol is a constant and every section is an array.
#
# The echo guest drives one or two NE2000 adapters, at the ports 0x300 and
# 0x320.  It sends one frame of zeros through each adapter.  Then it writes a
# line to the debug console for every frame that it receives, and sends the
# first 60 bytes of the frame back.  A line has six numbers:
#
#       the base port of the adapter that received the frame
#       the length of the frame in bytes
#       the checksum of the frame
#       the number of interrupts so far
#       the time stamp counter: bits 32 to 47, then bits 0 to 15
#
# The word at offset 14 of a frame is a command for the guest.

        .code16

# Constants that the test needs, too.
        .globl  COMMAND_OFFSET, COMMAND_NONE, COMMAND_NO_TIMER
        .globl  COMMAND_RESET, COMMAND_EXIT, COMMAND_SUSPEND
        .globl  EXIT_ARGUMENT, FRAME_MIN_BYTES
        .globl  NIC0_PORT, NIC1_PORT, SENT_BYTES_OFFSET

        .set    COMMAND_OFFSET, 14      # of the command in a frame
        .set    COMMAND_NONE, 0x00
        .set    COMMAND_SUSPEND, 0xfc   # suspend the machine (S3)
        .set    COMMAND_NO_TIMER, 0xfd  # stop the timer
        .set    COMMAND_RESET, 0xfe     # reset the machine
        .set    COMMAND_EXIT, 0xff      # exit; the next byte is the argument

        .set    EXIT_ARGUMENT, 0x21     # the argument that the test uses
        .set    FRAME_MIN_BYTES, 60     # the adapter pads shorter frames
        .set    NIC0_PORT, 0x300           # base ports of the adapters
        .set    NIC1_PORT, 0x320
        # Of the low byte of the length of the frames that the guest sends.
        .set    SENT_BYTES_OFFSET, sent_bytes - echo_guest

# I/O ports.
        .set    PIC1_PORT, 0x20         # interrupt controllers
        .set    PIC2_PORT, 0xa0
        .set    TIMER_PORT, 0x40        # counter 0; the mode is at 0x43
        .set    KEYBOARD_PORT, 0x64     # COMMAND_RESET resets here
        .set    CONSOLE_PORT, 0xe9
        .set    EXIT_PORT, 0xf4         # isa-debug-exit
        .set    PCI_ADDRESS_PORT, 0xcf8
        .set    PCI_DATA_PORT, 0xcfc
        .set    PM_PORT, 0xb000         # power management, where we put it

# Power management of the PIIX4: PCI registers, ports from PM_PORT on, and bits.
        .set    PM_BASE_REGISTER, 0x80000b40
        .set    PM_MISC_REGISTER, 0x80000b80
        .set    PM_STATUS, 0x00         # events
        .set    PM_ENABLE, 0x02         # their interrupts
        .set    PM_CONTROL, 0x04
        .set    PM_POWER_BUTTON, 0x100  # in PM_STATUS and PM_ENABLE
        .set    PM_SCI, 0x0001          # the others in PM_CONTROL
        .set    PM_SUSPEND, 0x2400

# Registers of an NE2000, from its base port.  The command register selects
# which of several pages the ports 1 to 15 show.
        .set    NIC_COMMAND, 0x00
        .set    NIC_PAGE_START, 0x01    # receive ring: first page
        .set    NIC_PAGE_STOP, 0x02     # receive ring: the page after the last
        .set    NIC_BOUNDARY, 0x03      # the last page that the guest has read
        .set    NIC_SEND_PAGE, 0x04
        .set    NIC_SEND_BYTES, 0x05    # low byte; the high byte is at 6
        .set    NIC_STATUS, 0x07        # interrupts; in page 1: current page
        .set    NIC_DMA_ADDRESS, 0x08   # low byte; the high byte is at 9
        .set    NIC_DMA_BYTES, 0x0a     # low byte; the high byte is at 11
        .set    NIC_RECEIVE, 0x0c       # configuration
        .set    NIC_TRANSMIT, 0x0d      # configuration
        .set    NIC_DATA, 0x0e          # configuration
        .set    NIC_MASK, 0x0f          # of interrupts
        .set    NIC_DMA_PORT, 0x10

# Values of NIC_COMMAND.  All but the first two keep the adapter started.
        .set    NIC_STOP, 0x21
        .set    NIC_STOP_PAGE1, 0x61
        .set    NIC_START, 0x22
        .set    NIC_START_PAGE1, 0x62
        .set    NIC_DMA_READ, 0x0a
        .set    NIC_DMA_WRITE, 0x12
        .set    NIC_SEND, 0x26

# Pages of 256 bytes in the adapter's memory.
        .set    SEND_PAGE, 0x40
        .set    RING_START, 0x46
        .set    RING_STOP, 0x80

# RAM, in segment 0.  The byte at the address NIC0_PORT or NIC1_PORT is the page of
# the ring where the next frame of this adapter begins, or 0 if there is no
# such adapter.
        .set    NMI_VECTOR, 0x02 * 4
        .set    VECTORS, 0x20 * 4       # interrupt vectors 0x20 to 0x2f
        .set    HEADER, 0x600           # of the frame, as the adapter made it
        .set    HEADER_NEXT_PAGE, HEADER + 1
        .set    HEADER_BYTES, HEADER + 2
        .set    INTERRUPTS, 0x604       # how many there were
        .set    STACK_TOP, 0x7000
        .set    FRAME, 0x8000

# ---------------------------------------------------------------------------

        .section .echo_guest, "ax"
echo_guest:
        cli
        cld
        xor     %ax, %ax
        mov     %ax, %ss
        mov     %ax, %es
        mov     $STACK_TOP, %sp
        push    %cs
        pop     %ds
        mov     $VECTORS, %di
        mov     $16, %cx
vector:
        mov     $(irq - echo_guest), %ax
        stosw
        mov     %cs, %ax
        stosw
        loop    vector
        mov     $FRAME, %di
        mov     $(FRAME_MIN_BYTES / 2), %cx
        xor     %ax, %ax
        rep     stosw
        movw    $(nmi - echo_guest), %es:NMI_VECTOR
        mov     %cs, %es:NMI_VECTOR + 2
        mov     $PM_BASE_REGISTER, %eax
        mov     $(PM_PORT | 1), %ecx
        call    pci_write
        mov     $PM_MISC_REGISTER, %eax
        mov     $1, %ecx
        call    pci_write
        mov     $(PM_PORT + PM_ENABLE), %dx
        mov     $PM_POWER_BUTTON, %ax
        out     %ax, %dx
        mov     $(PM_PORT + PM_CONTROL), %dx
        mov     $PM_SCI, %ax
        out     %ax, %dx
        xor     %bp, %bp
        mov     $(pic_table - echo_guest), %si
        mov     $((pic_table_end - pic_table) / 2), %cx
        call    program
        mov     $NIC0_PORT, %bp
        call    start
        mov     $NIC1_PORT, %bp
        call    start

idle:
        sti
        hlt
        cli
        mov     $NIC0_PORT, %bp
        call    service
        mov     $NIC1_PORT, %bp
        call    service
        jmp     idle

# Start the adapter BP, if there is one, and send a frame of zeros through it.
start:
        mov     $(nic_table - echo_guest), %si
        mov     $((nic_table_end - nic_table) / 2), %cx
        call    program
        movb    $(RING_START + 1), (%bp)
        mov     %bp, %dx
        in      %dx, %al
        cmp     $0xff, %al
        jne     transmit
        movb    $0, (%bp)
        ret

# Serve the adapter BP: report each frame that it has received, send the frame
# back, and obey its command.
service:
        cmpb    $0, (%bp)
        je      done
        lea     NIC_STATUS(%bp), %dx
        mov     $0xff, %al
        out     %al, %dx
        mov     %bp, %dx
        mov     $NIC_START_PAGE1, %al
        out     %al, %dx
        add     $NIC_STATUS, %dl
        in      %dx, %al                # the page where the next frame goes
        mov     %al, %bl
        mov     %bp, %dx
        mov     $NIC_START, %al
        out     %al, %dx
        cmp     (%bp), %bl
        je      done
        # The header: a status, the next page, and the length plus 4.
        xor     %ax, %ax
        mov     (%bp), %ah
        mov     $4, %cx
        mov     $NIC_DMA_READ, %bl
        call    dma
        mov     $HEADER, %di
        rep     insb
        # The frame itself, in units of 4 bytes.
        mov     $4, %al
        mov     (%bp), %ah
        mov     %es:HEADER_BYTES, %cx
        sub     $4, %cx
        mov     %cx, %si
        call    dma
        add     $3, %cx
        shr     $2, %cx
        mov     $FRAME, %di
        rep     insl
        # Give its pages back to the adapter.
        mov     %es:HEADER_NEXT_PAGE, %al
        mov     %al, (%bp)
        dec     %ax
        cmp     $RING_START, %al
        jae     boundary
        mov     $(RING_STOP - 1), %al
boundary:
        lea     NIC_BOUNDARY(%bp), %dx
        out     %al, %dx
        # Write the line to the console.
        mov     %bp, %ax
        call    hex
        mov     %si, %ax
        call    hex
        mov     $FRAME, %di
        mov     %si, %cx
        xor     %ax, %ax
sum:
        rol     $1, %ax
        xor     %es:(%di), %al
        inc     %di
        loop    sum
        call    hex
        mov     %es:INTERRUPTS, %ax
        call    hex
        rdtsc
        push    %ax
        mov     %dx, %ax
        call    hex
        pop     %ax
        call    hex
        mov     $'\n', %al
        out     %al, $CONSOLE_PORT
        call    transmit
        # Obey the command.
        mov     %es:FRAME + COMMAND_OFFSET, %ax
        cmp     $COMMAND_EXIT, %al
        je      exit
        cmp     $COMMAND_RESET, %al
        je      reset
        cmp     $COMMAND_SUSPEND, %al
        je      suspend
        cmp     $COMMAND_NO_TIMER, %al
        jne     service
        push    %bp
        xor     %bp, %bp
        mov     $(off_table - echo_guest), %si
        mov     $((off_table_end - off_table) / 2), %cx
        call    program
        pop     %bp
        jmp     service

exit:
        mov     %ah, %al
        out     %al, $EXIT_PORT
reset:
        out     %al, $KEYBOARD_PORT
        jmp     halt
suspend:
        mov     $(PM_PORT + PM_CONTROL), %dx
        mov     $(PM_SUSPEND | PM_SCI), %ax
        out     %ax, %dx
halt:
        hlt
        jmp     halt

# Send the first FRAME_MIN_BYTES bytes at FRAME through the adapter BP.
transmit:
        mov     $(SEND_PAGE << 8), %ax
        mov     $FRAME_MIN_BYTES, %cx
        mov     $NIC_DMA_WRITE, %bl
        call    dma
        push    %ds
        push    %es
        pop     %ds
        mov     $FRAME, %si
        mov     $(FRAME_MIN_BYTES / 4), %cx
        rep     outsl
        pop     %ds
        mov     $(send_table - echo_guest), %si
        mov     $((send_table_end - send_table) / 2), %cx
        # falls through

# Write to CX ports: at SI is a pair for each, an offset to BP and a value.
program:
        lodsb
        mov     %bp, %dx
        add     %al, %dl
        lodsb
        out     %al, %dx
        loop    program
done:
        ret

# Begin a transfer of CX bytes from or to the memory of the adapter BP, at the
# address AX; BL is the command.  DX is then the port for the data.
dma:
        lea     NIC_DMA_ADDRESS(%bp), %dx
        out     %al, %dx
        inc     %dx
        mov     %ah, %al
        out     %al, %dx
        inc     %dx
        mov     %cl, %al
        out     %al, %dx
        inc     %dx
        mov     %ch, %al
        out     %al, %dx
        mov     %bp, %dx
        mov     %bl, %al
        out     %al, %dx
        add     $NIC_DMA_PORT, %dl
        ret

# Write AX to the console, in hexadecimal, and a space.
hex:
        mov     $4, %cx
digit:
        rol     $4, %ax
        push    %ax
        and     $0x0f, %al
        cmp     $10, %al
        sbb     $0x69, %al
        das
        out     %al, $CONSOLE_PORT
        pop     %ax
        loop    digit
        mov     $' ', %al
        out     %al, $CONSOLE_PORT
        ret

# Write ECX to the PCI register EAX.
pci_write:
        mov     $PCI_ADDRESS_PORT, %dx
        out     %eax, %dx
        mov     $PCI_DATA_PORT, %dx
        mov     %ecx, %eax
        out     %eax, %dx
        ret

nmi:
        incw    %ss:INTERRUPTS
        iret

irq:
        incw    %ss:INTERRUPTS
        push    %ax
        push    %dx
        # IRQ 9 is also that of the power button.
        mov     $(PM_PORT + PM_STATUS), %dx
        mov     $PM_POWER_BUTTON, %ax
        out     %ax, %dx
        pop     %dx
        mov     $0x20, %al              # end of interrupt
        out     %al, $PIC2_PORT
        out     %al, $PIC1_PORT
        pop     %ax
        iret

# The interrupt controllers, with vectors from 0x20 on; IRQ 0, 2, 9 and 10 are
# enabled.  Then the timer, at 1000 Hz.
pic_table:
        .byte   PIC1_PORT, 0x11, PIC1_PORT + 1, 0x20
        .byte   PIC1_PORT + 1, 0x04, PIC1_PORT + 1, 0x01
        .byte   PIC1_PORT + 1, 0xfa
        .byte   PIC2_PORT, 0x11, PIC2_PORT + 1, 0x28
        .byte   PIC2_PORT + 1, 0x02, PIC2_PORT + 1, 0x01
        .byte   PIC2_PORT + 1, 0xf9
        .byte   TIMER_PORT + 3, 0x34, TIMER_PORT, 0xa9, TIMER_PORT, 0x04
pic_table_end:

# The timer again: it expires once more, and then never.
off_table:
        .byte   TIMER_PORT + 3, 0x30, TIMER_PORT, 0x01, TIMER_PORT, 0x00
off_table_end:

# An adapter: it receives every frame, into its ring.
nic_table:
        .byte   NIC_COMMAND, NIC_STOP, NIC_DATA, 0x48
        .byte   NIC_RECEIVE, 0x14, NIC_TRANSMIT, 0x00
        .byte   NIC_PAGE_START, RING_START, NIC_PAGE_STOP, RING_STOP
        .byte   NIC_BOUNDARY, RING_START, NIC_STATUS, 0xff
        .byte   NIC_MASK, 0x01
        .byte   NIC_COMMAND, NIC_STOP_PAGE1, NIC_STATUS, RING_START + 1
        .byte   NIC_COMMAND, NIC_START
nic_table_end:

# An adapter: it sends FRAME_MIN_BYTES bytes from SEND_PAGE.
send_table:
        .byte   NIC_SEND_PAGE, SEND_PAGE
        .byte   NIC_SEND_BYTES
sent_bytes:
        .byte   FRAME_MIN_BYTES
        .byte   NIC_SEND_BYTES + 1, 0x00
        .byte   NIC_COMMAND, NIC_SEND
send_table_end:

# ---------------------------------------------------------------------------

# A guest that exits with EXIT_ARGUMENT plus the high byte of its flags, which
# must be 0.  When the vCPU leaves the guest's code, QEMU computes the flags
# from the operands of the last arithmetic instruction.  One operand is 0x4100
# here, whose bits are those of the flags NT and TF.
        .section .flags_guest, "ax"
        xor     %ax, %ax
        mov     %ax, %ss
        mov     %ax, %es
        mov     $STACK_TOP, %sp
        pushf
        popf
        xor     %eax, %eax
        add     $0x4100, %eax
        cmpxchg8b %es:0x600
        pushf
        pop     %ax
        mov     %ah, %al
        add     $EXIT_ARGUMENT, %al
        out     %al, $EXIT_PORT

# ---------------------------------------------------------------------------

# The processor begins here, 16 bytes before the end of the image.
        .section .reset_vector, "ax"
        ljmp    $0xf000, $0x0000
