"""Tables of rows: data, how two states of it become one, and what to compare them by. Pure: no time, no messages."""
