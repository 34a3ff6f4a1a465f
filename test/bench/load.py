"""Runs of the load generator (load.c), which has its core to itself as far as there are enough."""

import json
import os
import struct
import subprocess

from harness import program, scratch
from . import machine


def prepare(name, requests):
    """Writes requests (bytes) into a file for the generator; returns its path."""
    path = os.path.join(scratch.root(), f"requests-{name}")
    with open(path, "wb") as file:
        for request in requests:
            file.write(struct.pack("=I", len(request)) + request)
    return path


def command(port, requests, connections, seconds=0, warmup=0, cycle=1, rate=0, meters=None, samples=None, idle=False):
    """The generator's command line; `meters` is {name: [pid, …]}."""
    words = [os.path.join(program.build(), "test", "bench", "bench-load")]
    given = {
        "port": port,
        "requests": requests,
        "connections": connections,
        "seconds": seconds,
        "warmup": warmup,
        "cycle": cycle,
        "rate": rate,
    }
    for name, value in given.items():
        words += [f"--{name}", str(value)]
    for name, pids in (meters or {}).items():
        words += ["--cpu", f"{name}={','.join(map(str, pids))}"]
    if samples:
        words += ["--samples", samples]
    return words + (["--idle"] if idle else [])


def start(cores, **how):
    """The generator as a process whose output is piped; it dies with us."""
    with machine.on(cores.load):
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command(**how)],
            cwd=scratch.root(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


def result(process, patience=60):
    """
    What a generator has to say at its end, with `rate` and, for each meter, `cpu_us` per request.  A server may say that it
    has too much to do (`refused_share`); any other refusal is an error of ours.
    """
    try:
        output, _ = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise RuntimeError("the load generator did not end") from None
    if process.returncode != 0:
        raise RuntimeError("the load generator failed")
    measured = json.loads(output.splitlines()[-1])
    answered = measured["answered"]
    if answered == 0:
        raise RuntimeError("nothing was answered")
    if measured["first_refusal"] not in (0, 429, 503):
        raise RuntimeError(f"{measured['refused']} of {answered} were answered with {measured['first_refusal']}")
    measured["refused_share"] = measured["refused"] / answered
    measured["rate"] = answered / measured["seconds"]
    measured["cpu_us"] = {name: used / answered for name, used in measured["cpu_us"].items()}
    return measured


def run(cores, **how):
    return result(start(cores, **how), 60 + how.get("seconds", 0) + how.get("warmup", 0))
