"""`covey demo`: real processes share real work, one is killed, and every survivor ends with the exact result.

corpus    the work: a frozen list of files, and what counting one means
tables    who owns what, and what the rows of all workers say together: pure
reports   what the director and the workers say to each other; it is measurement, no work travels there
worker    one process: a node that counts its share, and joins a group with what it counted as metadata, for all to read
children  their processes, as the director sees them
director  starts the workers, kills one, checks the results
screen    what people see: plain lines, JSON, or
picture   the live picture on a terminal
command   the command itself
"""
