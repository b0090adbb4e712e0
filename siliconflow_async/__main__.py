"""`python -m siliconflow_async` is the `siliconflow-async` command."""

from siliconflow_async.cli import main

if __name__ == "__main__":
    main()
