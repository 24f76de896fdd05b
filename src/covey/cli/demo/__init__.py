"""`covey demo`: real processes serve real work, one is killed, the network splits; the result stays exact.

corpus       the work: a frozen list of files, and what counting one means
shelves      which packages stand on which shelf, and what is asked of them: pure
tables       what the rows of all shelves say together: pure
tally        queries without an answer, the longest silence, copies of each shelf: pure
indexing     a shelf: a child of the hub with the word index of its packages
client       who asks, without pause
faults       a network that only a worker of the demo can cut
reports      what the director and the workers say to each other; it is measurement, no work travels there
worker       one process: a node that takes part in the hub, with a client
worker_main  its way in and out
processes    the workers' processes, as the director sees them
director     starts the workers, hears them, knows how it came out
acts         what happens to them
script       in which order, or by which key of the keyboard
screen       what people see: plain lines, JSON, or
picture      the live picture on a terminal
command      the command itself

Where the queries come from: each worker has a client of its own, so during a split there are clients on both sides, and
both sides have to answer all of them. What counts as excused is a gap: from a fault (a death, a split, a heal) until
every shelf runs, and is shown, to everybody who can reach it. Any attempt without an answer outside of these counts as
unanswered.
"""
