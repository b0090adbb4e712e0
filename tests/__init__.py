"""The tests. They are laid out as the package is: what tests one of its rooms is in the directory of that name.

`promises` tests what holds across rooms, whatever becomes of a call. At the root are the tests of the package's own
root modules and of the whole: the house's walls, the README, the types, the benchmarks, the tests themselves.
"""
