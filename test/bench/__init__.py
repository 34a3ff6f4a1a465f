"""
The benchmark's parts.  test/bench/run is the command; main.py says what is measured and in which order.

    machine.py      which cores there are, who gets which, what processes used, what the machine is
    load.py         one run of the load generator (load.c)
    people.py       the mitras that the work is about, in PostgreSQL and in Valkey
    work.py         the requests of each kind of work
    candidates.py   the servers measured, started and stopped
    closed.py       as fast as each can: CPU per request
    report.py       Markdown and JSON
"""
