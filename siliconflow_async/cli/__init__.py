"""The command line: `siliconflow-async`, and `python -m siliconflow_async`.

Exit codes:
0    done; `serve` and `playground` stopped by Ctrl-C too, since nothing else ends it, and a conversation by Ctrl-D
1    the service refused, the connection failed, or the answer broke off; what had arrived was printed. Of a batch:
     some lines failed, are open, or were skipped
2    nothing was sent: wrong usage, no key, no prompt, a base URL or a port that can't be used, a bad file. From stdin
     `batch` has sent what came before a bad line
130  Ctrl-C
141  whoever read the output has left, as in `| head`
"""

import sys

__all__ = ["main"]

_NO_CLICK = 'siliconflow-async: the command line is an extra: pip install "siliconflow-async[cli]"'


def main() -> None:
    """Run the command line on `sys.argv`; ends with `SystemExit`."""
    try:
        # Here and not above: without the extra there is one line that helps, not a traceback.
        from .app import app

        app(prog_name="siliconflow-async")
    except ModuleNotFoundError as error:
        if error.name not in ("click", "prompt_toolkit", "tqdm"):
            raise
        print(_NO_CLICK, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
