"""What runs in the process of one code: one file per code, `child` measures it.

These files must run in an interpreter that has the other code and numpy but not cgdft: they import one another
relatively, and nothing else of cgdft (but for `run_cgdft`, which is run by the interpreter that started the benchmark).
Their names begin with `run_`, so that none hides the package that it imports.
"""
