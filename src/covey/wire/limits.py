"""How large things may be on the wire. They are protocol: every node of a cluster must agree on them."""

FRAME_BYTES_MAX = 1 << 20  # DESIGN 3.1: hard frame limit 1 MiB
FRAME_AIM_BYTES = 1 << 16  # a frame is closed once it is this long: one write, one read buffer
HELLO_BYTES_MAX = 4096  # what an unauthenticated connection may make us hold
MESSAGE_OVERHEAD_BYTES = 64  # a message's own fields around its payload, generously
PAYLOAD_BYTES_MAX = FRAME_BYTES_MAX - MESSAGE_OVERHEAD_BYTES
KEY_BYTES_MAX = 1024
KEY_DEPTH_MAX = 8
CONTACTS_MAX = 64  # contacts in one message
