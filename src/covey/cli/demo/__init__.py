"""`covey demo`: real processes share real work, one is killed, and every survivor ends with the exact result.

corpus    the work: a frozen list of files, and what counting one means
tables    what one worker holds, and who owns what: pure
reports   what the director and the workers say to each other; it is measurement, no work travels there
worker    one process: a node that counts its share and exchanges tables with the others, through covey alone
children  their processes, as the director sees them
director  starts the workers, kills one, checks the results
screen    what people see: plain lines, JSON, or
picture   the live picture on a terminal
command   the command itself
"""
