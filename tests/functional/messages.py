# SPDX-License-Identifier: GPL-2.0-or-later
# pylint: disable=line-too-long
# flake8: noqa: E501
"""The messages of QEMU that the tests expect.

They stand here, each on one line, so that a changed message is easy to find
and has to be changed only once.  Names in braces are for str.format().
"""

# --- reports: regular expressions for Report.expect() -----------------------

ANY = '.*'

PACKET_CHECKSUM = "packet {number} that the guest sends through the adapter on netdev '{netdev}', {size} bytes, differs: its checksum is {now}, but the recorded one is {then}"
PACKET_BYTE = "packet {number} that the guest sends through the adapter on netdev '{netdev}' differs: byte {at} of {size} is 0x{now:02x}, but was recorded as 0x{then:02x}"
PACKET_LENGTH = "packet {number} that the guest sends through the adapter on netdev '{netdev}' has {now} bytes, but the recorded one has {then}"
PACKET_ADAPTER = "the guest sends packet {number} through the adapter on netdev '{now}', but the recorded one went through the adapter on netdev '{then}'"
PACKET_NOT_RECORDED = "guest sends packet {number}, of {size} bytes, through the adapter on netdev '{netdev}', but the next recorded event is '{then}'"

PACKET_FOR_UNKNOWN = 'a packet is for adapter number {number}, but the number of adapters is 2'
PACKET_FLAGS = "a packet for the adapter on netdev '{netdev}' has unknown flags {flags}"
PACKET_EMPTY = r"a packet for the adapter on netdev '{netdev}' has 0 bytes \(expected 1 to"

EVENT_NEEDED = "needs the event '{now}', but the next recorded event is '{then}'"
EVENT_NOT_MADE = 'did not produce it'
VCPU_UNKNOWN = 'the recording continues on vCPU 77, which the machine does not have'
NO_INSTRUCTIONS = 'an instruction event that counts no instructions'
CHARACTERS = 'guest writes {now} bytes to a character device, but the recording wrote {then}'
RNG_BYTES = "the back end '{backend}' has {then} random bytes, but the guest asks for {now}"
RANDOM_BYTES = 'asks for {now} random bytes, but the recording has {then}'
SHUTDOWN_CAUSE = 'unknown shutdown cause {number}'

CUT = 'is cut: it has no end'
RECORDING_HAS_ENDED = 'the recording has ended, but the machine has not shut down'

# Of these, one is in each message about an event that the guest makes and the
# recording does not have.
GUEST_MAKES_EVENT = ('that the guest sends', 'the guest sends packet', 'needs the event')

# --- the printed report, line by line ---------------------------------------

REPORT_BEGINS = 'the replay of'
REPORT_ENDS_HERE = "the replay of '{filename}' ends here: {message}"
REPORT_RECORDING = '  recording: event {event} ({kind}{about}), packet {packet}, icount {icount}, chunk {chunk}{offset}'
REPORT_ABOUT = ' of adapter {adapter}'
REPORT_OFFSET = ' at file offset {offset}'
REPORT_GUEST = '  guest: icount {icount}, vCPU {cpu} at pc 0x{pc:x}'
REPORT_EVENT = '    {line}'
REPORT_CAME = "  the guest produced the event '{kind}'{through}"
REPORT_THROUGH = ', packet {packet} through adapter {adapter}'

# --- disks -------------------------------------------------------------------

DISK_IS_TEMPORARY = 'goes to temporary files, and is lost when QEMU exits'
DISK_READ_FAILS = "disk '{disk}': the host cannot read from it: Input/output error"
DISK_WRITE_FAILS = "disk '{disk}': the host cannot write to it: Input/output error"
DISK_UNREADABLE = "content of a disk: recorded as 0x[0-9a-f]{{8}} of disk '{disk}', now unreadable of disk '{disk}'"
DISK_CONTENT = "content of a disk: recorded as 0x[0-9a-f]{{8}} of disk '{disk}', now 0x[0-9a-f]{{8}} of disk '{disk}'"
DISK_WHOLE = "content of a disk: recorded as [0-9a-f]{{64}} of disk '{disk}', now [0-9a-f]{{64}} of disk '{disk}'"
DISK_SIZE = "recorded as ''{disk}' of device .* bytes, writable', now ''{disk}' of device .* bytes, writable'"
DISK_MISSING = "Could not open '{image}': No such file or directory"
DISK_SNAPSHOT = "disk '{disk}' cannot be recorded: the snapshot 'start' (rrsnapshot=) would be lost with its temporary overlay"
DISK_LIMITS = "disk '{disk}' has limits of its speed, which cannot be recorded or replayed"
DISK_PASSTHROUGH = "disk '{disk}' cannot be recorded: scsi-block passes the guest's commands to a device of the host"

# --- other messages ---------------------------------------------------------

OTHER_MACHINE = 'was made on another machine'
OTHER_INITRD = '  file.initrd.0: recorded as '
OTHER_VALUE = "{key}: recorded as '{then}', now '{now}'"
TWO_QUEUES = "netdev 'n0' of type tap has more than one queue"
NOT_RECORDABLE = 'nothing could be recorded'

RECORDING_IS_CUT = 'is cut'
RECORDING_IS_DAMAGED = 'is damaged'

CANNOT_CONTINUE = 'cannot be continued'
SNAPSHOT_OF_ANOTHER = 'belongs to another recording'
SNAPSHOT_OF_BUSY_DISK = 'a snapshot cannot hold the request that a disk is working on at this instruction'
SNAPSHOT_BOTTOM_HALF = 'the snapshot has a bottom half that the machine lacks, or has it twice: '
SNAPSHOT_BOTTOM_HALF_NAME = 'the snapshot has a bottom half whose name is not valid'
SNAPSHOT_REQUEST = 'the snapshot has a request to a disk with the number '
SNAPSHOT_WHILE_RECORDING = 'time would go back'

CHARACTERS_DROPPED = "character device 'slow' does not take what the guest writes, and its queue is full: bytes are dropped"
CHARACTERS_DROPPED_TOTAL = "character device 'slow': {number} bytes that the guest wrote were dropped"
PLACE_NAMES = 'a place in the replay is one of'
PLACE_NUMBER = 'is not a number'
PLACE_COUNTED_FROM = 'packets from 1'
PLACE_ICOUNT = 'the recording ends after'
PLACE_EVENTS = 'events'
PLACE_PACKETS = 'packets'
PLACE_ADAPTER = "the recording has no adapter 'n7'"
PLACE_PASSED = 'has passed this place already'
NO_CHECKPOINT = 'it has no checkpoint before this place'

# --- leaving a replay --------------------------------------------------------

LEAVE_ARRIVED = 'and is being recorded from here on'
LEAVE_NO_SNAPSHOT = 'no QEMU could load a snapshot that is saved after the replay was left'
LEAVE_NOT_BEGUN = 'the replay has not begun'
LEAVE_SAME_FILE = 'is the recording that is replayed'
LEAVE_FILE_EXISTS = 'already exists'
LEAVE_PORT = 'Could not set up host forwarding rule'
LEAVE_OPTIONS = 'need each other'

# --- info replay, rrprogress= -----------------------------------------------

INFO_NOTHING = 'nothing is being recorded or replayed'
INFO_RECORDING = "recording '{filename}' (UUID {uuid})"
INFO_PLACE = 'icount {icount}, {events} events, {packets} packets'
INFO_PERCENT = '{percent:.1f} %'
INFO_ADAPTER = "adapter '{netdev}': NIC {nic}"
INFO_COUNTERS = 'received {received-packets} packets, {received-bytes} bytes; sent {sent-packets} packets, {sent-bytes} bytes'

# Regular expressions, and a part of the last line of each.
PROGRESS_RECORDING = r'recording: icount \d+, \d+ packets, \d+ bytes, \d+ s'
PROGRESS_RECORDING_END = ' {packets} packets,'
PROGRESS_REPLAYING = r'replaying: \d+\.\d %, icount \d+ of \d+, \d+ s(, \d+\.\d\d times as fast as it was recorded)?(, \d+ s to go)?'
PROGRESS_REPLAYING_END = 'replaying: 100.0 %'
