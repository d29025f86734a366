"""Pure data that every side shares: no I/O, no clocks, no other part of Vigil but the error tree."""
