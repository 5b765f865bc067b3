"""Runs the checks and prints what became of them. `run` beside it builds the programs."""

import argparse
import pathlib
import shutil
import signal
import sys
import time

import checks
from cluster import Cluster, Failed

PROJECT = pathlib.Path(__file__).resolve().parent.parent.parent


def arguments():
    parser = argparse.ArgumentParser(prog="tests/api-server/run", description=__doc__.split(".")[0] + ".")
    parser.add_argument("--only", action="append", default=[], help="checks with this in their names; may be given several times")
    parser.add_argument("--table", action="store_true", help="also what the chart and the server say of each wrong value")
    parser.add_argument("--programs", help=argparse.SUPPRESS)
    return parser.parse_args()


def charts(directory):
    """A copy of the charts without links, as packages have it, so that no Helm remarks on them."""
    shutil.copytree(PROJECT / "helm", directory / "helm")
    return directory / "helm"


def main():
    given = arguments()
    # So that the cluster is taken down.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    made, wrong = 0, []
    with Cluster(given.programs) as cluster:
        print(f"== the API server is there, after {time.monotonic() - began:.0f} s", flush=True)
        for name, check in checks.all_checks(cluster, charts(cluster.directory), PROJECT, given.table):
            if given.only and not any(part in name for part in given.only):
                continue
            made += 1
            try:
                problem = check()
            except Failed as error:
                problem = str(error)
            if problem:
                wrong.append(name)
            print(f"WRONG {name}: {problem.strip()}" if problem else f"ok    {name}", flush=True)
    if not made:
        sys.exit(f"tests/api-server/run: no check has {' or '.join(given.only)} in its name")
    verdict = f"{len(wrong)} are wrong: {', '.join(wrong)}" if wrong else "all is well"
    print(f"== {verdict}, after {time.monotonic() - began:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
