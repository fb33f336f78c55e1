"""One run of a study: the command line, in a process that does not outlive the study.

    python -m alexnet_zoo.study.one_run PID reproduce RECIPE ...

Where the study PID is gone, also by SIGKILL, the run ends as by Ctrl-C: with a checkpoint.
"""

import os
import signal
import sys
import threading
import time

from alexnet_zoo.cli import main

EVERY = 0.5  # seconds


def end_with(study: int) -> None:
    """Watches for the parent to change, which every Unix shows; prctl, which would tell at once, is Linux's alone."""
    while os.getppid() == study:
        time.sleep(EVERY)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=end_with, args=[int(sys.argv.pop(1))], daemon=True).start()
    main()
