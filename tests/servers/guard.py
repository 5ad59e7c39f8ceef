"""Ends the servers of a test run that was killed: `python -P guard.py FOLDER`.

What enters: the end of standard input, whose other end the test run holds. What leaves: no server of that
run, no folder. It imports nothing of size before it has something to do, as every test run starts one.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    sys.stdin.buffer.read()
    if folder.exists():
        sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
        from tests.servers.run import Run

        Run(folder).stop()
