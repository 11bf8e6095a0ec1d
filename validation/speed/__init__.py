"""Speed, memory and accuracy of cgdft beside other codes: `python -m cgdft.validation.speed --help`.

    pip install cgdft[peers]                          or, as torch-admp holds torch below 2.10, in an environment of its own:
    export CGDFT_PEERS_PYTHON=path/of/that/bin/python
    python -m cgdft.validation.speed --output speed   64 to 110,592 atoms: tables, speed.json, speed.png
    python -m cgdft.validation.speed --quick          64 and 512 atoms
    python -m cgdft.validation.speed.batch            many molecules in one call

Charge equilibration (`qeq`) and fixed charges (`fixed`) on disordered rock salt, in every code that is installed, each in a
process of its own; iterations of cgdft also on water boxes and metal slabs. Machines are shared and differ: only
ratios of times taken in one run, with the number of threads, are worth quoting.
"""

if __name__ != "cgdft.validation.speed":
    raise ImportError("this folder installs as `cgdft.validation.speed`; write `from cgdft.validation.speed import ...`")
